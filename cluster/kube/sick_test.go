package kube

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube/client"
)

// sickRoad is a client whose every request goes over a road that may fall ill,
// and takes at most as long as given.
func sickRoad(t *testing.T, timeout time.Duration) (*Cluster, *clustertest.Sick) {
	t.Helper()
	connected(t) // bootstrapped
	road, err := shared.Get(t).Sick()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = road.Close() })
	c, err := New(Config{Name: "test", REST: road.RESTConfig(), Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return c, road
}

// Which requests fall ill.
func on(method, suffix string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return (method == "" || r.Method == method) && strings.HasSuffix(r.URL.Path, suffix) && r.URL.Query().Get("watch") == ""
	}
}

// written are requests that write the object of a name.
func written(method, name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return on(method, "/"+name)(r) && r.URL.Query().Get("dryRun") == "" }
}

func watches(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

// A trouble of the cluster is never "no change" (invariant 9): it passes unseen,
// or the plan says what is wrong, soon, and with which object.
func TestPlansOfASickCluster(t *testing.T) {
	const second = time.Second
	for name, tc := range map[string]struct {
		ill     clustertest.Ill
		timeout time.Duration
		fails   string // the whole plan, with these words
		problem string // of the ConfigMap, with these words
		atMost  int    // requests that meet the ill
	}{
		"busy for a moment":             {ill: clustertest.Ill{Status: 429, RetryAfter: 1, Times: 1}, atMost: 1},
		"busy, asked often":             {ill: clustertest.Ill{Status: 429, RetryAfter: 1}, timeout: 3 * second, fails: "is too busy", atMost: 8},
		"busy for long":                 {ill: clustertest.Ill{Status: 429, RetryAfter: 3600}, timeout: second, fails: "too busy", atMost: 2},
		"in trouble for a moment":       {ill: clustertest.Ill{Status: 503, Message: "starting", Times: 2}},
		"in trouble":                    {ill: clustertest.Ill{Of: on("GET", "/settings"), Status: 503, Message: "etcd is away"}, problem: "cluster test: the server is currently unable to handle the request", atMost: 3},
		"failing":                       {ill: clustertest.Ill{Of: on("PATCH", "/settings"), Status: 500, Message: "etcdserver: request timed out"}, problem: "request timed out", atMost: 3},
		"answers nothing":               {ill: clustertest.Ill{Hang: true}, timeout: second / 2, fails: "did not answer within 500ms"},
		"answers nothing of one object": {ill: clustertest.Ill{Of: on("PATCH", "/settings"), Hang: true}, timeout: second / 2, fails: "/settings: the cluster test at"},
		"an answer lost":                {ill: clustertest.Ill{Of: on("GET", "/settings"), Lose: true, Times: 1}, atMost: 1},
		"an answer cut short":           {ill: clustertest.Ill{Of: on("GET", "/secrets"), Cut: 200, Times: 1}, atMost: 1},
		"answers cut short":             {ill: clustertest.Ill{Of: on("GET", "/secrets"), Cut: 200}, fails: "inventory", atMost: 3},
		"discovery cut short":           {ill: clustertest.Ill{Of: on("GET", "/apis"), Cut: 3000}, fails: "discovery"},
		"an object cut short":           {ill: clustertest.Ill{Of: on("GET", "/settings"), Cut: 30}, problem: "reading response body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := shared.Get(t).Namespace(t)
			target, docs := targetIn(ns), objects(t, ns, configMap, service)
			synced(t, connected(t), target, nil, docs)
			c, road := sickRoad(t, tc.timeout)
			merge := objects(t, ns, changed(configMap, "red", "blue"), service)
			road.Fall(tc.ill)
			begun := time.Now()
			p, err := c.Plan(t.Context(), cluster.Request{Target: target, Base: docs, Merge: merge})
			met := road.Met()
			switch {
			case tc.fails != "":
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("got %v", err)
				}
			case err != nil:
				t.Error(err)
			case tc.problem != "":
				if len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, "/settings: ") || !strings.Contains(p.Problems[0].Message, tc.problem) || !p.Problems[0].Passing {
					t.Errorf("got %+v", p.Problems)
				}
			case len(p.Problems) > 0 || len(p.Changes) != 1:
				t.Errorf("got %+v %+v", p.Problems, p.Changes)
			}
			if took := time.Since(begun); took > 12*second {
				t.Errorf("it took %s", took)
			}
			if len(met) == 0 || tc.atMost > 0 && len(met) > tc.atMost {
				t.Errorf("%d requests met it, %v", len(met), tc.atMost)
			}
			road.Heal()
			if tc.ill.RetryAfter < 60 { // else lockkeeper rests yet
				planned(t, c, target, docs, merge)
			}
		})
	}
}

// Looks for drift and at health end in time too, and what is not known is not
// said to be well. A watch that began on a sick road comes back.
func TestLooksAtASickClusterEnd(t *testing.T) {
	ns := shared.Get(t).Namespace(t)
	target, docs := targetIn(ns), objects(t, ns, configMap, service, deployment)
	synced(t, connected(t), target, nil, docs)
	c, road := sickRoad(t, time.Second/2)
	road.Fall(clustertest.Ill{Hang: true})
	if problems, err := c.Health(t.Context(), target.Owner()); err == nil || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("health: %+v, %v", problems, err)
	}
	if r, err := c.Drift(t.Context(), cluster.DriftRequest{Target: target, Objects: docs}); err == nil || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("drift: %+v, %v", r, err)
	}
	census, err := c.Census(t.Context())
	if err != nil || len(census.Unknown) == 0 {
		t.Errorf("census: %+v, %v", census, err)
	}
	news := make(chan struct{}, 100)
	watched := make(chan error, 1)
	go func() { watched <- c.Watch(t.Context(), func() { news <- struct{}{} }) }()
	for len(road.Met()) < 8 { // it goes on asking
		select {
		case err := <-watched:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	road.Heal()
	for {
		census, err := c.Census(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ours := func(u cluster.Unknown) bool {
			return slices.Contains([]string{"", "ConfigMap", "Service", "Deployment.apps"}, u.Kind)
		}
		if !slices.ContainsFunc(census.Unknown, ours) { // other tests' kinds may be gone
			return
		}
		select {
		case <-news:
		case <-time.After(time.Minute):
			t.Fatalf("still unknown: %+v", census.Unknown)
		}
	}
}

// What became of a write whose answer was lost is read from the cluster: it is
// not written twice, not forgotten, and not said to be well before it is.
func TestWritesToASickCluster(t *testing.T) {
	const fixed = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fixed}\nimmutable: true\ndata: {colour: red}\n"
	dead := "the cluster does not answer"
	for name, tc := range map[string]struct {
		ill     clustertest.Ill
		timeout time.Duration
		failed  string // the step of the object that the ill is about
		skipped bool   // what comes after
	}{
		"creating, answer lost":       {ill: clustertest.Ill{Of: written("PATCH", "web"), Lose: true, Times: 1}},
		"creating, answers lost":      {ill: clustertest.Ill{Of: written("PATCH", "web"), Lose: true}},
		"updating, answer lost":       {ill: clustertest.Ill{Of: written("PATCH", "settings"), Lose: true, Times: 1}},
		"deleting, answer lost":       {ill: clustertest.Ill{Of: written("DELETE", "old"), Lose: true, Times: 1}},
		"replacing, delete lost":      {ill: clustertest.Ill{Of: written("DELETE", "fixed"), Lose: true, Times: 1}},
		"replacing, create lost":      {ill: clustertest.Ill{Of: written("PATCH", "fixed"), Lose: true, Times: 1}},
		"inventory, answer lost":      {ill: clustertest.Ill{Of: func(r *http.Request) bool { return r.Method == "PUT" && strings.Contains(r.URL.Path, "/secrets/") }, Lose: true, Times: 1}},
		"not carried out":             {ill: clustertest.Ill{Of: written("PATCH", "settings"), Status: 503, Message: "no", Times: 2}},
		"busy":                        {ill: clustertest.Ill{Of: written("", "settings"), Status: 429, RetryAfter: 1, Times: 2}},
		"watches that never begin":    {ill: clustertest.Ill{Of: watches, Hang: true}, timeout: time.Second},
		"watches that are cut":        {ill: clustertest.Ill{Of: watches, Cut: 10}},
		"never carried out":           {ill: clustertest.Ill{Of: written("PATCH", "settings"), Status: 502, Message: "bad gateway"}, failed: "whether it was carried out is not known", skipped: true},
		"answers nothing from now on": {ill: clustertest.Ill{Hang: true}, timeout: time.Second, failed: "did not answer within 1s; whether it was carried out is not known", skipped: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := shared.Get(t).Namespace(t)
			target, good := targetIn(ns), connected(t)
			old := inFile(configMap, "settings", "old")
			base := objects(t, ns, configMap, old, fixed)
			merge := objects(t, ns, changed(configMap, "red", "blue"), changed(fixed, "red", "blue"), deployment)
			synced(t, good, target, nil, base)
			c, road := sickRoad(t, tc.timeout)
			p := planned(t, c, target, base, merge)
			begun := time.Now()
			road.Fall(tc.ill)
			r, err := c.Apply(t.Context(), p, nil)
			if len(road.Met()) == 0 || time.Since(begun) > time.Minute {
				t.Errorf("%d requests met it, it took %s", len(road.Met()), time.Since(begun))
			}
			road.Heal()
			if tc.failed == "" && (err != nil || !r.OK()) {
				t.Errorf("%v %+v", err, r)
			}
			if s := stepOf(t, r, "ConfigMap", "settings"); tc.failed != "" && (s.State != cluster.Failed || !strings.Contains(s.Message, tc.failed)) {
				t.Errorf("got %+v", s)
			}
			if s := stepOf(t, r, "ConfigMap", "old"); tc.skipped != (s.State == cluster.Skipped && (strings.Contains(s.Message, dead) || strings.Contains(s.Message, "before it failed"))) {
				t.Errorf("got %+v", s)
			}
			if d := liveOf(t, good, "deployments.v1.apps", ns, "web"); tc.failed == "" && d.GetGeneration() != 1 {
				t.Errorf("the Deployment was written %d times", d.GetGeneration())
			}
			if err != nil || !r.OK() { // what was not known is found out, and the rest done
				synced(t, good, target, base, merge)
			}
			settled(t, good, target, merge)
			if problems, err := good.Health(t.Context(), target.Owner()); err != nil || len(problems) > 0 {
				t.Errorf("%+v, %v", problems, err)
			}
		})
	}
}

// Requests that come while the server wants to be left alone are held back, all
// of them.
func TestAServerThatAsksForARestGetsOne(t *testing.T) {
	ns := shared.Get(t).Namespace(t)
	var docs []string
	for _, name := range strings.Split("abcdefghijklmnop", "") {
		docs = append(docs, inFile(configMap, "settings", "c-"+name))
	}
	c, road := sickRoad(t, 0)
	planned(t, c, targetIn(ns), nil, objects(t, ns, docs...)) // discovery is known
	road.Fall(clustertest.Ill{Of: on("GET", "/secrets"), Status: 429, RetryAfter: 2, Times: 1})
	road.Fall(clustertest.Ill{}) // counts the others
	planned(t, c, targetIn(ns), nil, objects(t, ns, docs...))
	met := road.Met()
	slices.SortFunc(met, time.Time.Compare)
	if len(met) < 17 || met[1].Sub(met[0]) < 1900*time.Millisecond {
		t.Errorf("%d requests, the second %s after the first", len(met), met[1].Sub(met[0]))
	}
	_, err := c.api.Get(t.Context(), gvrOf("configmaps.v1"), ns, "none")
	if client.Passing(err) {
		t.Errorf("%v passes", err)
	}
}
