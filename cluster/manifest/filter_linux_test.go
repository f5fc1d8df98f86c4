//go:build linux && (amd64 || arm64)

package manifest

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestProcessOfARendererHoldsTheFilter(t *testing.T) {
	r := newRenderer(t, Limits{})
	mustRender(t, r, repo(map[string]string{"a/a.yaml": configMap("a")}), "a")
	status, err := os.ReadFile("/proc/" + strconv.Itoa(r.idle[0].cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Seccomp:\t2", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the child's status has no %q", want)
		}
	}
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(r.idle[0].cmd.Process.Pid) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(environ), "\x00"); got != 2 || !strings.HasPrefix(string(environ), "PATH=\x00") {
		t.Errorf("the child's environment is %q, want an empty PATH and the marker only", environ)
	}
}
