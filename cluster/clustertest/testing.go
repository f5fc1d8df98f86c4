package clustertest

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// New starts a control plane that ends with the test.
func New(t testing.TB, options Options) *ControlPlane {
	t.Helper()
	c, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("stop the control plane: %v", err)
		}
	})
	return c
}

// Shared is one control plane for the tests of a package. It starts with the
// first test that asks for it, so that runs that need none pay nothing.
type Shared struct {
	Options Options

	once  sync.Once
	plane *ControlPlane
	err   error
}

// Get returns the control plane, which is in use by other tests too: keep to
// a Namespace of your own, and to cluster-scoped names of your own.
func (s *Shared) Get(t testing.TB) *ControlPlane {
	t.Helper()
	s.once.Do(func() { s.plane, s.err = Start(t.Context(), s.Options) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.plane
}

// Main is the body of TestMain: it runs the tests, stops the control plane if
// one was started, and exits.
func (s *Shared) Main(m *testing.M) {
	code := m.Run()
	if s.plane != nil {
		if err := s.plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the control plane:", err)
			code = 1
		}
	}
	os.Exit(code)
}

var namespaces atomic.Int64

// Namespace creates a namespace named after the test and returns its name. It
// is not removed before the control plane is.
func (c *ControlPlane) Namespace(t testing.TB) string {
	t.Helper()
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%.40s-%d", dashed(t.Name()), namespaces.Add(1))
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}
	resource := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	if _, err := resource.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create a namespace: %v", err)
	}
	return name
}

// dashed makes a DNS label of a test's name: TestFoo/bar_baz is test-foo-bar-baz.
func dashed(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r >= 'A' && r <= 'Z' && b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
			fallthrough
		case r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteString(strings.ToLower(string(r)))
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-")
}
