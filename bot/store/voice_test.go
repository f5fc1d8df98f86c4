package store

import (
	"strings"
	"testing"
)

// Keys may be as long as the names of branches: more of them than fit into a
// message are told by one word, which has the others look.
func TestWhatIsSaidFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	s, _ := sharedStore(t)
	m := &mouth{lines: []string{workSaid + "base/1/main", leaseSaid}}
	if said := m.next(); said != "work base/1/main\nlease" {
		t.Errorf("said %q", said)
	}
	for range 30 {
		m.lines = append(m.lines, workSaid+"base/123456789/"+strings.Repeat("b", 255))
	}
	ok(t, s.db.Notify(t.Context(), strings.Repeat("r", 255)+"\n"+m.next()))
	if said := m.next(); said != "" || m.speaking {
		t.Errorf("said %q when there was nothing to say", said)
	}
}
