package repositories_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/repositories"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/github"
)

// room is a reader over the look-alike.
type room struct {
	t     *testing.T
	forge *forgetest.Server
	op    config.Repository
	log   bytes.Buffer
	*repositories.Reader
}

func newRoom(t *testing.T) *room {
	t.Helper()
	hub, err := forgetest.New(forgetest.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, hub.Close()) })
	hub.AddUser("owner")
	id, err := hub.AddRepo(t.Context(), forgetest.NewRepo{Owner: "owner", Name: "shop", Files: map[string]string{"a": "a"}})
	must(t, err)
	f, err := github.New(t.Context(), github.Config{APIURL: hub.URL, Token: hub.Token("owner"), Now: hub.Now})
	must(t, err)
	r := &room{t: t, forge: hub, op: config.Repository{ID: id, Name: "owner/shop"}}
	r.Reader = &repositories.Reader{Forge: f, Log: slog.New(slog.NewTextHandler(&r.log, nil)), Now: hub.Now}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get reads the repository, and tells its name and how many calls that took.
func (r *room) get() (name string, calls int, err error) {
	r.t.Helper()
	r.forge.ForgetCalls()
	repo, err := r.Get(r.t.Context(), r.op)
	return repo.String(), len(r.forge.Calls()), err
}

func (r *room) want(name string, calls int) {
	r.t.Helper()
	if got, n, err := r.get(); err != nil || got != name || n != calls {
		r.t.Errorf("%s after %d calls, %v; want %s after %d", got, n, err, name, calls)
	}
}

func TestRepositoryIsReadOnceAMinuteAndWhenAWebhookKnowsBetter(t *testing.T) {
	r := newRoom(t)
	r.want("owner/shop", 1)
	r.want("owner/shop", 0)
	r.forge.RenameRepo("owner/shop", "store")
	r.want("owner/shop", 0)
	r.Heard(forge.Event{Repo: forge.RepoRef{ID: r.op.ID, Owner: "Owner", Name: "Shop"}}) // nothing new
	r.Heard(forge.Event{Repo: forge.RepoRef{ID: r.op.ID + 1, Owner: "owner", Name: "other"}})
	r.want("owner/shop", 0)
	r.Heard(forge.Event{Repo: forge.RepoRef{ID: r.op.ID, Owner: "owner", Name: "store"}})
	r.want("owner/store", 1)
	r.want("owner/store", 0)
	r.forge.Advance(time.Minute)
	r.want("owner/store", 1)
	if n := strings.Count(r.log.String(), "another name"); n != 1 {
		t.Errorf("%d lines about the name:\n%s", n, r.log.String())
	}
}

func TestRepositoryThatIsGoneCostsOneCallAMinuteAndOneLineAnHour(t *testing.T) {
	r := newRoom(t)
	r.want("owner/shop", 1)
	r.forge.DeleteRepo("owner/shop")
	r.forge.Advance(time.Minute)
	calls := 0
	for range 3 * 60 {
		for range 4 {
			_, n, err := r.get()
			var gone *repositories.Unreachable
			if calls += n; !errors.As(err, &gone) || forge.CodeOf(err) != forge.NotFound || !strings.Contains(err.Error(), "server file") {
				t.Fatal(err)
			}
		}
		r.forge.Advance(time.Minute)
	}
	if lines := strings.Count(r.log.String(), "cannot be reached"); calls != 180 || lines != 3 {
		t.Errorf("%d calls, %d lines in three hours", calls, lines)
	}
	// A forge that is down says nothing about the repository.
	r = newRoom(t)
	r.forge.Fail(func(*http.Request) *forgetest.Fault { return &forgetest.Fault{Status: 503} })
	var gone *repositories.Unreachable
	if _, _, err := r.get(); errors.As(err, &gone) || forge.CodeOf(err) != forge.Unavailable {
		t.Error(err)
	}
	r.forge.Fail(nil)
	r.want("owner/shop", 1)
}

func TestRepositoryOfAnotherNumberIsRefused(t *testing.T) {
	r := newRoom(t)
	r.op.ID = 0 // read by name, and the file is wrong
	if _, err := r.Get(t.Context(), r.op); err == nil || !strings.Contains(err.Error(), "correct the file") {
		t.Error(err)
	}
}

// The webhook door tells, and must not wait for a forge that hangs.
func TestHearingWaitsForNothing(t *testing.T) {
	r := newRoom(t)
	asked, once := make(chan struct{}), sync.Once{}
	r.forge.Fail(func(*http.Request) *forgetest.Fault {
		once.Do(func() { close(asked) })
		return &forgetest.Fault{Hang: true}
	})
	var wg sync.WaitGroup
	wg.Go(func() { r.Get(t.Context(), r.op) }) //nolint:errcheck // it hangs until the look-alike closes
	<-asked
	r.Heard(forge.Event{Installation: true})
	r.Heard(forge.Event{Repo: forge.RepoRef{ID: r.op.ID, Owner: "x", Name: "y"}})
	must(t, r.forge.Close())
	wg.Wait()
}
