package git

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lockkeeper/forge"
)

// A forge whose certificate is of its owner's own authority is read from and
// written to once the operator names that authority, and not before.
func TestOwnAuthorityIsTrustedWhereItIsNamed(t *testing.T) {
	r := newRemote(t)
	r.write("a", "1")
	head := r.commit("one")
	server := httptest.NewTLSServer(r.server.Config.Handler)
	t.Cleanup(server.Close)
	url := server.URL + strings.TrimPrefix(r.url, r.server.URL)
	file := filepath.Join(t.TempDir(), "authority.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, known := range map[string]bool{file: true, "": false} {
		c, err := OpenCache(t.Context(), t.TempDir(), Options{CAFile: path})
		if err != nil {
			t.Fatal(err)
		}
		m := c.Mirror(t.Context(), "example.com/1")
		_, err = m.Fetch(t.Context(), url, secret, head)
		switch {
		case known && err != nil:
			t.Errorf("with the authority: %v", err)
		case !known && (forge.CodeOf(err) != forge.Unavailable || !strings.Contains(err.Error(), "certificate")):
			t.Errorf("without: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
