package gitea

import (
	"testing"
)

func TestStart(t *testing.T) {
	s, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Settle(t.Context())
	t.Log(s.URL, n, err)
	t.Log(s.Log())
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
}
