package kube

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube/inventory"
)

// unknownIs wants one unknown part, and no suspects.
func unknownIs(kind, reason string) func(*cluster.Census) bool {
	return func(c *cluster.Census) bool {
		return len(c.Unknown) == 1 && c.Unknown[0].Kind == kind && strings.Contains(c.Unknown[0].Reason, reason) &&
			!c.Unknown[0].Since.IsZero() && suspects(c) == ""
	}
}

// Out of reach is unknown, never clean; what was written meanwhile is found.
func TestWatchOfAClusterOutOfReach(t *testing.T) {
	cp := plane(t, 0)
	admin, ns := connectedTo(t, cp.Access), cp.Namespace(t)
	link, err := cp.Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	c := connectedTo(t, link.Access)
	synced(t, admin, targetIn(ns), nil, objects(t, ns, configMap, service))
	w := watched(t, c)
	w.until(t, "all is clean", isClean)
	if err := link.Cut(); err != nil {
		t.Fatal(err)
	}
	got := w.until(t, "the cluster is out of reach", unknownIs("", "cannot be reached"))
	if got.Objects != 2 || got.Owners[targetIn(ns).Owner()] != 2 {
		t.Errorf("what was known of the inventory is gone: %+v", got)
	}
	since := got.Unknown[0].Since
	edit(t, admin, "services.v1", ns, "web", `{"metadata":{"labels":{"a":"b"}}}`)
	if again := censusOf(t, c); len(again.Unknown) != 1 || again.Unknown[0].Since != since || suspects(again) != "" {
		t.Errorf("while it is away the census says %+v, want unknown since %s", again, since)
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	w.until(t, "it is back, and something was written meanwhile", suspectsAre("Service web"))

	// A cold census of a cluster that is away says so too.
	if err := link.Cut(); err != nil {
		t.Fatal(err)
	}
	cold, err := New(Config{Name: "test", REST: link.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if got := censusOf(t, cold); !unknownIs("", "cannot be reached")(got) {
		t.Errorf("got %+v", got)
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	w.until(t, "it is back", suspectsAre("Service web"))
}

// gate ends watches after two seconds, in order, and once closed lets none go on
// until it is opened. It counts those that the server did not go on with.
type gate struct {
	next    http.RoundTripper
	closed  atomic.Bool
	waiting chan struct{}
	open    chan struct{}
	expired atomic.Int32
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	if q.Get("watch") == "" {
		return g.next.RoundTrip(r)
	}
	if g.closed.Load() && q.Get("sendInitialEvents") == "" {
		select {
		case g.waiting <- struct{}{}:
		case <-g.open:
		}
		<-g.open
	}
	q.Set("timeoutSeconds", "2")
	r = r.Clone(r.Context())
	r.URL.RawQuery = q.Encode()
	resp, err := g.next.RoundTrip(r)
	if err == nil {
		resp.Body = &gateReader{ReadCloser: resp.Body, g: g}
	}
	return resp, err
}

type gateReader struct {
	io.ReadCloser
	g    *gate
	text []byte // the end of what was read
}

func (b *gateReader) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.text = append(b.text, p[:n]...)
	if bytes.Contains(b.text, []byte("too old resource version")) {
		b.g.expired.Add(1)
		b.text = nil
	}
	b.text = b.text[max(0, len(b.text)-100):]
	return n, err
}

// After a restart the server does not know any more what it said before: watches
// that want to go on from there expire (410) and begin again. What was written
// meanwhile is found.
func TestWatchSurvivesRestartsAndExpiry(t *testing.T) {
	cp := plane(t, 0)
	admin, ns := connectedTo(t, cp.Access), cp.Namespace(t)
	config, g := cp.RESTConfig(), &gate{waiting: make(chan struct{}), open: make(chan struct{})}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { g.next = next; return g })
	c, err := New(Config{Name: "test", REST: config})
	if err != nil {
		t.Fatal(err)
	}
	synced(t, admin, targetIn(ns), nil, objects(t, ns, configMap, service))
	w := watched(t, c)
	w.until(t, "all is clean", isClean)
	g.closed.Store(true)
	for range 3 { // of the inventory and of two kinds
		<-g.waiting
	}
	edit(t, admin, "configmaps.v1", ns, "settings", `{"data":{"size":"4"}}`)
	for i := range 3 { // the store's revision moves on
		kubectlOn(t, cp, "create", "configmap", fmt.Sprint("foreign-", i), "-n", ns)
		kubectlOn(t, cp, "create", "service", "clusterip", fmt.Sprint("foreign-", i), "-n", ns, "--tcp=80")
	}
	if err := cp.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	if err := cp.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(g.open)
	w.until(t, "the ConfigMap changed", suspectsAre("ConfigMap settings"))
	if g.expired.Load() == 0 {
		t.Error("no watch expired: this test tests nothing")
	}
	edit(t, admin, "services.v1", ns, "web", `{"metadata":{"labels":{"a":"b"}}}`)
	w.until(t, "the Service changed", suspectsAre("ConfigMap settings, Service web"))
}

const censusCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.census.example.org}
spec:
  group: census.example.org
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
`

const censusGadget = `
apiVersion: census.example.org/v1
kind: Gadget
metadata: {name: one}
spec: {size: 1}
`

// A kind that goes is unknown; when it comes back without its objects, those are
// missing.
func TestWatchOfAKindThatGoesAndComesBack(t *testing.T) {
	cp := plane(t, 0)
	admin, c, ns := connectedTo(t, cp.Access), connectedTo(t, cp.Access), cp.Namespace(t)
	crd := objects(t, ns, censusCRD)
	synced(t, admin, targetIn(ns), nil, append(objects(t, ns, configMap), crd...))
	gadgets := targetIn(ns)
	gadgets.Name = "gadgets"
	synced(t, admin, gadgets, nil, objects(t, ns, censusGadget))
	w := watched(t, c)
	w.until(t, "all is clean", func(c *cluster.Census) bool { return isClean(c) && c.Objects == 3 })
	edit(t, admin, "gadgets.v1.census.example.org", ns, "one", `{"spec":{"size":2}}`)
	w.until(t, "the Gadget changed", suspectsAre("Gadget one"))
	kubectlOn(t, cp, "delete", "crd", "gadgets.census.example.org")
	w.until(t, "the kind is gone", func(c *cluster.Census) bool {
		return len(c.Unknown) == 1 && c.Unknown[0].Kind == "Gadget.census.example.org" && strings.Contains(c.Unknown[0].Reason, "does not serve") &&
			suspects(c) == "CustomResourceDefinition gadgets.census.example.org"
	})
	if got := censusOf(t, connectedTo(t, cp.Access)); len(got.Unknown) != 1 || got.Unknown[0].Kind != "Gadget.census.example.org" {
		t.Errorf("a cold census says %+v", got)
	}
	kubectlStdin(t, cp, censusCRD, "create", "-f", "-")
	w.until(t, "the kind is back, without its object", suspectsAre("CustomResourceDefinition gadgets.census.example.org, Gadget one"))
}

func kubectlStdin(t testing.TB, cp *clustertest.ControlPlane, stdin string, args ...string) {
	t.Helper()
	cmd := cp.Kubectl(t.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// What the account may not list is unknown, and the rest is not.
func TestWatchOfAForbiddenKind(t *testing.T) {
	cp := plane(t, 0)
	admin, ns := connectedTo(t, cp.Access), cp.Namespace(t)
	synced(t, admin, targetIn(ns), nil, objects(t, ns, configMap, service))
	kubectlOn(t, cp, "create", "clusterrole", "some", "--verb=get,list,watch", "--resource=configmaps,secrets")
	kubectlOn(t, cp, "create", "clusterrolebinding", "some", "--clusterrole=some", "--user=limited")
	config := cp.RESTConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: "limited"}
	c, err := New(Config{Name: "test", REST: config})
	if err != nil {
		t.Fatal(err)
	}
	if got := censusOf(t, c); !unknownIs("Service", "forbids")(got) {
		t.Errorf("a cold census says %+v", got)
	}
	w := watched(t, c)
	w.until(t, "Services are forbidden", unknownIs("Service", "forbids"))
	edit(t, admin, "configmaps.v1", ns, "settings", `{"data":{"size":"4"}}`)
	w.until(t, "the ConfigMap changed", func(c *cluster.Census) bool {
		return suspects(c) == "ConfigMap settings" && len(c.Unknown) == 1
	})
	kubectlOn(t, cp, "create", "clusterrole", "more", "--verb=get,list,watch", "--resource=services")
	kubectlOn(t, cp, "create", "clusterrolebinding", "more", "--clusterrole=more", "--user=limited")
	w.until(t, "Services are allowed", suspectsAre("ConfigMap settings"))
}

// Who may look at some namespaces only (deploy/rbac) looks there: at those that
// the inventory has objects in. A namespace that may not be looked at is told by
// name, and what is in others is judged all the same.
func TestWatchByNamespace(t *testing.T) {
	cp := plane(t, 0)
	admin, one, two := connectedTo(t, cp.Access), cp.Namespace(t), cp.Namespace(t)
	synced(t, admin, targetIn(one), nil, objects(t, one, configMap, service))
	kubectlOn(t, cp, "create", "clusterrole", "some", "--verb=get,list,watch", "--resource=configmaps,services,secrets")
	allow := func(ns string) {
		kubectlOn(t, cp, "create", "rolebinding", "some", "-n", ns, "--clusterrole=some", "--user=limited")
	}
	allow(cluster.SystemNamespace)
	allow(one)
	config := cp.RESTConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: "limited"}
	c, err := New(Config{Name: "test", REST: config})
	if err != nil {
		t.Fatal(err)
	}
	first, second := censusOf(t, c), censusOf(t, c)
	if !isClean(first) || !isClean(second) || first.Objects != 2 {
		t.Errorf("cold censuses say %+v and %+v", first, second)
	}
	if first.Stats.Requests != second.Stats.Requests+2 {
		t.Errorf("%d requests, then %d: two refusals are to be remembered", first.Stats.Requests, second.Stats.Requests)
	}
	w := watched(t, c)
	w.until(t, "all is clean", isClean)
	edit(t, admin, "configmaps.v1", one, "settings", `{"data":{"size":"4"}}`)
	w.until(t, "the ConfigMap changed", suspectsAre("ConfigMap settings"))

	synced(t, admin, targetIn(two), nil, objects(t, two, configMap, service))
	elsewhere := func(c *cluster.Census) bool {
		return c.Objects == 4 && suspects(c) == "ConfigMap settings" && len(c.Unknown) == 2 && !slices.ContainsFunc(c.Unknown, func(u cluster.Unknown) bool {
			return !strings.HasPrefix(u.Reason, "in namespace "+two+": ") || !strings.Contains(u.Reason, "forbids")
		})
	}
	w.until(t, "another namespace may not be looked at", elsewhere)
	cold, err := New(Config{Name: "test", REST: config})
	if err != nil {
		t.Fatal(err)
	}
	if got := censusOf(t, cold); !elsewhere(got) {
		t.Errorf("a cold census says %+v", got)
	}
	allow(two)
	w.until(t, "that namespace may be looked at", suspectsAre("ConfigMap settings"))
	edit(t, admin, "services.v1", two, "web", `{"metadata":{"labels":{"a":"b"}}}`)
	w.until(t, "the Service changed", suspectsAre("ConfigMap settings, Service web"))
	synced(t, admin, targetIn(two), objects(t, two, configMap, service), nil)
	w.until(t, "the other namespace is left", func(c *cluster.Census) bool { return suspectsAre("ConfigMap settings")(c) && c.Objects == 2 })
}

// A token in a file is renewed under a running watch.
func TestWatchWithCredentialsThatRotate(t *testing.T) {
	cp := plane(t, 0)
	ns := cp.Namespace(t)
	synced(t, connectedTo(t, cp.Access), targetIn(ns), nil, objects(t, ns, configMap))
	kubectlOn(t, cp, "create", "serviceaccount", "bot", "-n", ns)
	kubectlOn(t, cp, "create", "clusterrolebinding", "bot", "--clusterrole=cluster-admin", "--serviceaccount="+ns+":bot")
	token, err := cp.Kubectl(t.Context(), "create", "token", "bot", "-n", ns).Output()
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(cp.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	for _, user := range config.AuthInfos {
		user.Token, user.TokenFile = "", file
	}
	if err := os.WriteFile(file, []byte("expired"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.WriteToFile(*config, filepath.Join(dir, "kubeconfig")); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Name: "test", Kubeconfig: filepath.Join(dir, "kubeconfig")})
	if err != nil {
		t.Fatal(err)
	}
	w := watched(t, c)
	w.until(t, "the credentials have expired", unknownIs("", "credentials"))
	if err := os.WriteFile(file, bytes.TrimSpace(token), 0o600); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the credentials were renewed", func(c *cluster.Census) bool { return isClean(c) && c.Objects == 1 })
}

// An inventory that is damaged makes the cluster unknown until it is mended, and
// another digest key makes all baselines worthless.
func TestWatchOfADamagedInventory(t *testing.T) {
	cp := plane(t, 0)
	admin, c, ns := connectedTo(t, cp.Access), connectedTo(t, cp.Access), cp.Namespace(t)
	var many []string
	for i := range 40 { // more than are asked for one by one
		many = append(many, strings.ReplaceAll(configMap, "settings", fmt.Sprint("settings-", i)))
	}
	first := objects(t, ns, configMap)
	synced(t, admin, targetIn(ns), nil, first)
	w := watched(t, c)
	w.until(t, "all is clean", isClean)
	synced(t, admin, targetIn(ns), first, append(first, objects(t, ns, many...)...))
	w.until(t, "many were applied", func(c *cluster.Census) bool { return isClean(c) && c.Objects == 41 })

	shards, err := admin.api.Core.Secrets(cluster.SystemNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: inventory.Selector + "=shard"})
	if err != nil || len(shards.Items) != 1 {
		t.Fatalf("%d shards, %v", len(shards.Items), err)
	}
	shard := shards.Items[0].DeepCopy()
	kubectlOn(t, cp, "patch", "secret", shard.Name, "-n", cluster.SystemNamespace, "-p", `{"data":{"entries":"AAAA"}}`)
	w.until(t, "the inventory is damaged", unknownIs("", "damaged"))
	shard.ResourceVersion = ""
	if _, err := admin.api.Core.Secrets(cluster.SystemNamespace).Update(t.Context(), shard, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the inventory is mended", func(c *cluster.Census) bool { return isClean(c) && c.Objects == 41 })

	kubectlOn(t, cp, "delete", "secret", "lockkeeper-key", "-n", cluster.SystemNamespace)
	w.until(t, "the key is gone", func(c *cluster.Census) bool { return len(c.Suspects[targetIn(ns).Owner()]) == 41 })
}

// One watch at a time; when it ends, a census asks the cluster again.
func TestWatchEndsWithItsContext(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	synced(t, c, targetIn(ns), nil, objects(t, ns, configMap))
	ctx, cancel := context.WithCancel(t.Context())
	done, news := make(chan error, 1), make(chan struct{}, 1)
	go func() {
		done <- c.Watch(ctx, func() {
			select {
			case news <- struct{}{}:
			default:
			}
		})
	}()
	<-news
	for censusOf(t, c).Stats.Requests > 0 {
		<-news
	}
	if err := c.Watch(ctx, func() {}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second watch: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := censusOf(t, c); got.Stats.Requests == 0 || got.Stats.Bytes == 0 {
		t.Errorf("a census without a watch cost %+v", got.Stats)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Census(ended); err == nil {
		t.Error("no error though the context has ended")
	}
}
