package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

var shared = Shared{Options: Options{Nodes: 2}}

func TestMain(m *testing.M) {
	if dir := os.Getenv("CLUSTERTEST_DOOMED_PARENT"); dir != "" {
		doomedParent(dir)
	}
	shared.Main(m)
}

var (
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

func client(t *testing.T, a *Access) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(a.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func kubectl(t *testing.T, a *Access, args ...string) string {
	t.Helper()
	out, err := a.Kubectl(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

const deploymentYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %s}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers: [{name: prepare, image: "example.test/prepare:1"}]
      containers: [{name: web, image: "example.test/web:1"}]
`

func TestDeploymentBecomesAvailable(t *testing.T) {
	cp := shared.Get(t)
	ns := cp.Namespace(t)
	kubectl(t, cp.Access, "apply", "-f", writeFile(t, fmt.Sprintf(deploymentYAML, ns)))
	kubectl(t, cp.Access, "rollout", "status", "deployment/web", "-n", ns, "--timeout=2m")
	live, err := client(t, cp.Access).Resource(deployments).Namespace(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(live.Object, "status", "availableReplicas"); n != 3 {
		t.Fatalf("available replicas: got %d, want 3", n)
	}
}

func TestNamespaceIsDeletedForGoodWhenThereAreControllers(t *testing.T) {
	cp := shared.Get(t)
	ns := cp.Namespace(t)
	kubectl(t, cp.Access, "create", "configmap", "c", "-n", ns)
	kubectl(t, cp.Access, "delete", "namespace", ns, "--wait", "--timeout=2m")
	_, err := client(t, cp.Access).Resource(configMaps).Namespace(ns).Get(t.Context(), "c", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Fatalf("after deleting its namespace, reading the object gives %v, want not found", err)
	}
}

func TestKubectlAppliesAndDiffs(t *testing.T) {
	cp := shared.Get(t)
	file := writeFile(t, fmt.Sprintf(deploymentYAML, cp.Namespace(t)))
	kubectl(t, cp.Access, "apply", "-f", file)
	kubectl(t, cp.Access, "diff", "--server-side", "--field-manager=kubectl-client-side-apply", "-f", file)

	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := writeFile(t, strings.ReplaceAll(string(content), "web:1", "web:2"))
	out, err := cp.Kubectl(t.Context(), "diff", "--server-side", "--force-conflicts", "-f", changed).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "+        image: example.test/web:2") &&
		!strings.Contains(string(out), "+      - image: example.test/web:2") {
		t.Fatalf("diff of a changed image: %v\n%s", err, out)
	}
}

func TestCustomResourcesAreServed(t *testing.T) {
	cp := shared.Get(t)
	kubectl(t, cp.Access, "apply", "-f", writeFile(t, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sluices.clustertest.example}
spec:
  group: clustertest.example
  scope: Namespaced
  names: {plural: sluices, singular: sluice, kind: Sluice}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {level: {type: integer}}}}
`))
	kubectl(t, cp.Access, "wait", "--for=condition=Established", "crd/sluices.clustertest.example", "--timeout=1m")
	kubectl(t, cp.Access, "apply", "-n", cp.Namespace(t), "-f", writeFile(t, `
apiVersion: clustertest.example/v1
kind: Sluice
metadata: {name: west}
spec: {level: 3}
`))
}

func TestTwoControlPlanesRunSideBySide(t *testing.T) {
	one := shared.Get(t)
	two := New(t, Options{Context: "production"})
	kubectl(t, two.Access, "create", "configmap", "only-in-two", "-n", "default")
	_, err := client(t, one.Access).Resource(configMaps).Namespace("default").Get(t.Context(), "only-in-two", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Fatalf("an object of one cluster, read from the other: got %v, want not found", err)
	}
	if got := strings.TrimSpace(kubectl(t, two.Access, "config", "current-context")); got != "production" {
		t.Fatalf("context: got %q, want production", got)
	}
}

func TestStopLeavesNothingBehind(t *testing.T) {
	cp, err := Start(t.Context(), Options{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	link, err := cp.Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	pids := childPIDs(cp)
	if len(pids) != 5 {
		t.Fatalf("processes: got %d, want etcd, API server, controller manager, scheduler, kwok", len(pids))
	}
	for range 2 { // the second does nothing
		if err := cp.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	if _, err := os.Stat(cp.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	for _, addr := range []string{fmt.Sprintf("127.0.0.1:%d", cp.port), link.addr} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			t.Errorf("%s still accepts connections", addr)
		}
	}
}

func TestAPIServerRestartKeepsAddressAndData(t *testing.T) {
	cp := New(t, Options{})
	resource := client(t, cp.Access).Resource(configMaps).Namespace("default")
	kubectl(t, cp.Access, "create", "configmap", "kept", "-n", "default")
	if err := cp.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	if _, err := resource.Get(t.Context(), "kept", metav1.GetOptions{}); err == nil || apierrors.IsNotFound(err) {
		t.Fatalf("reading from a stopped API server: got %v, want a connection error", err)
	}
	if err := cp.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := resource.Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestTakenPortIsRecognised(t *testing.T) {
	cp := New(t, Options{})
	if err := cp.StartAPIServer(t.Context()); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Fatalf("starting a second API server: got %v", err)
	}
	if err := cp.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	squatter, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", cp.port))
	if err != nil {
		t.Fatal(err)
	}
	err = cp.StartAPIServer(t.Context())
	if err == nil || !cp.processes["kube-apiserver"].PortWasTaken() {
		t.Fatalf("got %v, want that somebody else has the port", err)
	}
	if err := squatter.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cp.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRejectedFlagIsReportedWithTheLog(t *testing.T) {
	_, err := Start(t.Context(), Options{APIServerFlags: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver ended by itself") ||
		!strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Fatalf("got %v, want the API server's own words", err)
	}
}

func TestCancelledStartLeavesNothingBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("changed my mind"))
	_, err := Start(ctx, Options{})
	if err == nil || !strings.Contains(err.Error(), "changed my mind") {
		t.Fatalf("got %v, want the reason of the cancellation", err)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func TestUnknownTokenIsRefused(t *testing.T) {
	cp := shared.Get(t)
	stranger, err := cp.Login("stranger", "expired")
	if err != nil {
		t.Fatal(err)
	}
	_, err = client(t, stranger).Resource(configMaps).Namespace("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsUnauthorized(err) {
		t.Fatalf("got %v, want 401", err)
	}
}

func TestServiceAccountHasOnlyWhatRBACGives(t *testing.T) {
	cp := shared.Get(t)
	ns := cp.Namespace(t)
	kubectl(t, cp.Access, "create", "serviceaccount", "reader", "-n", ns)
	kubectl(t, cp.Access, "create", "rolebinding", "reader", "--clusterrole=view", "--serviceaccount="+ns+":reader", "-n", ns)
	token := strings.TrimSpace(kubectl(t, cp.Access, "create", "token", "reader", "-n", ns))
	reader, err := cp.Login("reader", token)
	if err != nil {
		t.Fatal(err)
	}
	maps := client(t, reader).Resource(configMaps)
	if _, err := maps.Namespace(ns).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatalf("list in the namespace of the role: %v", err)
	}
	if _, err := maps.List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("list everywhere: got %v, want forbidden", err)
	}
}

// TestChildrenDieWithTheirParent kills a process that holds a control plane,
// which then cannot clean up.
func TestChildrenDieWithTheirParent(t *testing.T) {
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "CLUSTERTEST_DOOMED_PARENT="+dir)
	parent.Stderr = os.Stderr
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var children string
	_, readErr := fmt.Fscanln(output, &children)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	if readErr != nil {
		t.Fatalf("the parent did not get as far as a control plane: %v", readErr)
	}
	pids := strings.Split(children, ",")
	if len(pids) != 2 {
		t.Fatalf("children: got %v, want etcd and the API server", pids)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		eventually(ctx, t, func() bool { return !alive(pid) }, "child %d outlived its parent", pid)
	}
	eventually(ctx, t, func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 0
	}, "the files of the control plane are still in %s", dir)
}

// doomedParent starts a control plane, says so, and waits to be killed.
func doomedParent(dir string) {
	if err := os.Setenv("TMPDIR", dir); err != nil {
		panic(err)
	}
	cp, err := Start(context.Background(), Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var pids []string
	for _, pid := range childPIDs(cp) {
		pids = append(pids, strconv.Itoa(pid))
	}
	fmt.Println(strings.Join(pids, ","))
	select {}
}

func childPIDs(cp *ControlPlane) []int {
	var pids []int
	for _, p := range cp.processes {
		pids = append(pids, p.PID())
	}
	return pids
}

// alive is false for zombies too: who adopts orphans may be slow to reap them.
func alive(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, rest, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
	}
	return syscall.Kill(pid, 0) == nil
}

func eventually(ctx context.Context, t *testing.T, check func() bool, format string, args ...any) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			t.Fatalf(format, args...)
		case <-ticker.C:
		}
	}
}

// TestCutLinkEndsWatches shows what a client with a watch sees when the road
// to the cluster is gone, and when it is back.
func TestCutLinkEndsWatches(t *testing.T) {
	cp := shared.Get(t)
	link, err := cp.Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	resource := client(t, link.Access).Resource(configMaps).Namespace(cp.Namespace(t))
	watcher, err := resource.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	if err := link.Cut(); err != nil {
		t.Fatal(err)
	}
	for event := range watcher.ResultChan() {
		if event.Type != watch.Added && event.Type != watch.Error {
			t.Fatalf("event %v over a cut link", event)
		}
	}
	if _, err := resource.List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Fatal("a list went over a cut link")
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	if _, err := resource.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatalf("after Restore: %v", err)
	}
}

func TestDelayedLinkIsSlowerByTheRoundTrip(t *testing.T) {
	cp := shared.Get(t)
	const rtt = 100 * time.Millisecond
	link, err := cp.Delay(rtt)
	if err != nil {
		t.Fatal(err)
	}
	resource := client(t, link.Access).Resource(configMaps).Namespace("default")
	const requests = 5
	start := time.Now()
	for range requests {
		if _, err := resource.List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// A round trip each, and before them those of TCP and TLS.
	if took, least := time.Since(start), (requests+2)*rtt; took < least {
		t.Fatalf("%d requests took %s, want at least %s", requests, took, least)
	}
	if got := link.Traffic(); got.Connections != 1 || got.Up == 0 || got.Down == 0 {
		t.Fatalf("traffic: got %+v, want one connection with bytes both ways", got)
	}
}
