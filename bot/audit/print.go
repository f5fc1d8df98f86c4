package audit

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// JSONLines writes one record a line, in the form Decode reads.
func JSONLines(w io.Writer, records []Record) error {
	for _, r := range records {
		line, err := Encode(r)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("write audit records: %w", err)
		}
	}
	return nil
}

// Text writes records for people: one line each, and the reason below it.
// Control and direction characters in logins and reasons are shown as U+FFFD,
// so that no record can rewrite the terminal it is read on.
func Text(w io.Writer, records []Record) error {
	out := bufio.NewWriter(w)
	for _, r := range records {
		fmt.Fprintln(out, headline(r))
		if r.Reason != "" {
			fmt.Fprintf(out, "      %s\n", printable(r.Reason))
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write audit records: %w", err)
	}
	return nil
}

func headline(r Record) string {
	parts := []string{fmt.Sprintf("%5d", r.Seq), r.Time.UTC().Format(time.RFC3339), string(r.Type)}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+value)
		}
	}
	add("", r.subject())
	add("by ", r.Actor.String())
	add("target=", r.Target)
	add("head=", short(r.Head))
	add("plan=", short(strings.TrimPrefix(r.PlanDigest, "sha256:")))
	add("operation=", r.Operation)
	add("outcome=", r.Outcome)
	return printable(strings.Join(parts, "  "))
}

func (r Record) subject() string {
	switch {
	case r.Repo.ID == 0 && r.Repo.Name == "":
		return ""
	case r.Pull == 0:
		return r.Repo.String()
	}
	return fmt.Sprintf("%s pull %d", r.Repo, r.Pull)
}

// String is "login (forge:id)", or "lockkeeper" for the bot itself.
func (a Actor) String() string {
	if a == (Actor{}) {
		return "lockkeeper"
	}
	return fmt.Sprintf("%s (%s:%d)", a.Login, a.Forge, a.ID)
}

func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp) {
			return unicode.ReplacementChar
		}
		return c
	}, s)
}
