package kube

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/drift"
)

// What an apply writes between a check's look at the inventory and its look at
// the objects is no drift, nor is what it prunes.
func TestWhatIsAppliedDuringACheckIsNoDrift(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	was, target := objects(t, ns, configMap, service), targetIn(ns)
	synced(t, c, target, nil, was)
	by(t, c, "kubectl-edit", "services.v1", ns, "web", `{"metadata":{"labels":{"touched":"yes"}}}`)
	check, err := drift.New(t.Context(), c.api, c.kinds, &c.book, cluster.DriftRequest{Target: target, Objects: was})
	if err != nil {
		t.Fatal(err)
	}
	now := objects(t, ns, changed(configMap, "red", "blue"))
	synced(t, c, target, was, now)
	report, err := check.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) > 0 {
		t.Errorf("findings:\n%s", findingsOf(report))
	}
	if len(report.Problems) != 1 || report.Problems[0].Ref.Name != "settings" {
		t.Errorf("problems: %+v", report.Problems)
	}
	if got := findingsOf(drifted(t, c, cluster.DriftRequest{Target: target, Objects: now})); got != "" {
		t.Errorf("looked at again: %s", got)
	}
}

// A kind that is gone since discovery was asked answers as an object that is gone
// does, but for the words: the objects are not known, rather than deleted.
func TestObjectsOfAKindThatWentAreNotDeleted(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs, target := objects(t, ns, configMap), targetIn(ns)
	synced(t, c, target, nil, objs)
	gone := through(t, func(req *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(req.URL.Path, "/configmaps/settings") {
			return nil, nil
		}
		header := http.Header{"Content-Type": {"text/plain; charset=utf-8"}} // as for any path that it does not know
		return &http.Response{StatusCode: 404, Body: io.NopCloser(strings.NewReader("404 page not found\n")), Header: header, Request: req}, nil
	})
	got := findingsOf(drifted(t, gone, cluster.DriftRequest{Target: target, Objects: objs}))
	if !strings.HasPrefix(got, "problem: ConfigMap "+ns+"/settings: the cluster") || !strings.Contains(got, "does not serve ConfigMap") {
		t.Errorf("%s", got)
	}
}
