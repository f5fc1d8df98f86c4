package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"lockkeeper/cluster"
)

func testRenders(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	r := Render{RepoID: 1, Cluster: "main", Target: "shop", Digest: "a", Revision: "r1", At: c.Now()}
	ok(t, s.NoteRender(t.Context(), r))
	if got := must[Render](t)(s.Rendered(t.Context(), 1, "main", "shop", "a")); got != r {
		t.Errorf("got %+v, want %+v", got, r)
	}
	for _, other := range []Render{
		{RepoID: 2, Cluster: "main", Target: "shop", Digest: "a", At: r.At},
		{RepoID: 1, Cluster: "edge", Target: "shop", Digest: "a", At: r.At},
		{RepoID: 1, Cluster: "main", Target: "web", Digest: "a", At: r.At},
		{RepoID: 1, Cluster: "main", Target: "shop", Digest: "b", At: r.At},
	} {
		if _, err := s.Rendered(t.Context(), other.RepoID, other.Cluster, other.Target, other.Digest); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v: %v, want ErrNotFound", other, err)
		}
	}
	r.Revision, r.At = "r2", r.At.Add(time.Hour)
	ok(t, s.NoteRender(t.Context(), r))
	if got := must[Render](t)(s.Rendered(t.Context(), 1, "main", "shop", "a")); got != r {
		t.Errorf("applied again: %+v, want %+v", got, r)
	}
	for i := range 200 {
		ok(t, s.NoteRender(t.Context(), Render{RepoID: 1, Cluster: "main", Target: "shop", Digest: fmt.Sprint(i), At: r.At.Add(time.Duration(i+1) * time.Second)}))
	}
	if _, err := s.Rendered(t.Context(), 1, "main", "shop", "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the oldest of too many states is remembered: %v", err)
	}
	must[Render](t)(s.Rendered(t.Context(), 1, "main", "shop", "0"))
	ok(t, s.NoteRender(t.Context(), Render{RepoID: 2, Cluster: "edge", Target: "web", Digest: "a", At: r.At}))
	want := []cluster.Owner{{RepoID: 1, Target: "shop"}}
	if got := must[[]cluster.Owner](t)(s.AppliedTo(t.Context(), "main")); !slices.Equal(got, want) {
		t.Errorf("applied to main: %+v, want %+v", got, want)
	}
}
