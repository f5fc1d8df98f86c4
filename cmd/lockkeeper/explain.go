package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"lockkeeper/bot/config"
	"lockkeeper/bot/policy"
)

// explain judges recorded facts again. It exits with 0 if the changes may be
// applied, 2 if not, 1 for an error.
func explain(_ context.Context, c *call) error {
	policyFile := c.flags.String("policy", "", "a .lockkeeper.yaml, or the compiled policy as JSON (`FILE`.json); default: the policy in the facts' record, if it has one")
	factsFile := c.flags.String("facts", "", "a gate record of `audit list -o json`, or facts alone, as JSON; - for standard input")
	server := c.flags.String("config", "", "the operator's `FILE`, for its floors and service accounts")
	format := c.flags.String("o", "text", "text or json")
	if err := c.parse(); err != nil {
		return err
	}
	if *factsFile == "" {
		return errors.New("explain: --facts is missing; give a gate record of `lockkeeper audit list -o json`, or facts alone")
	}
	if *format != "text" && *format != "json" {
		return fmt.Errorf("explain: -o %s: want text or json", *format)
	}
	data, err := readInput(*factsFile, c.stdin)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	decision, err := readDecision(*factsFile, data)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	p, err := explainPolicy(*policyFile, *server, decision)
	if err != nil {
		return err
	}
	return decision.judge(c, p, *format)
}

func readInput(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

// explainPolicy reads the policy to judge by.
func explainPolicy(file, server string, d *decision) (policy.Policy, error) {
	if file == "" && d.policy == nil {
		return policy.Policy{}, errors.New("explain: --policy is missing, and the facts come without one; name a .lockkeeper.yaml")
	}
	if file == "" || filepath.Ext(file) == ".json" {
		if server != "" {
			return policy.Policy{}, errors.New("explain: --config goes with a .lockkeeper.yaml; a compiled policy has its floors in it")
		}
		if file == "" {
			return *d.policy, nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return policy.Policy{}, fmt.Errorf("explain: %w", err)
		}
		var p policy.Policy
		if err := strictly(data, &p); err != nil {
			return p, fmt.Errorf("explain: %s is no compiled policy: %w", file, err)
		}
		return p, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return policy.Policy{}, fmt.Errorf("explain: %w", err)
	}
	f, err := config.ParseFile(file, data)
	if err != nil {
		return policy.Policy{}, err
	}
	if server == "" {
		return config.Compile(f, nil), nil
	}
	s, err := readServer(server)
	if err != nil {
		return policy.Policy{}, err
	}
	return config.Compile(f, s), nil
}

// decision is what was read: facts, and beside them what their record holds.
type decision struct {
	facts    policy.Facts
	policy   *policy.Policy // nil if it was not recorded
	recorded *bool          // whether the record's verdict is to allow
}

// readDecision reads a gate record, what is in its `facts`, or facts alone.
func readDecision(name string, data []byte) (*decision, error) {
	d := &decision{}
	dec := json.NewDecoder(bytes.NewReader(data))
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		return nil, fmt.Errorf("%s is not JSON: %w", name, err)
	}
	if err := dec.Decode(new(json.RawMessage)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s has more than one JSON value; keep the record of one decision", name)
	}
	var record struct {
		Seq   int64           `json:"seq"`
		Hash  string          `json:"hash"`
		Type  string          `json:"type"`
		Facts json.RawMessage `json:"facts"`
	}
	// Facts alone have a pull that is an object, which is no record's.
	if err := json.Unmarshal(value, &record); err == nil && record.Hash != "" {
		if record.Type != "gate" || record.Facts == nil {
			return nil, fmt.Errorf("%s holds record %d, of type %q; only gate records have facts", name, record.Seq, record.Type)
		}
		value = record.Facts
	}
	var inner struct {
		Facts   json.RawMessage `json:"facts"`
		Policy  *policy.Policy  `json:"policy"`
		Verdict *struct {
			OK bool `json:"ok"`
		} `json:"verdict"`
	}
	if err := json.Unmarshal(value, &inner); err == nil && inner.Facts != nil {
		d.policy, value = inner.Policy, inner.Facts
		if inner.Verdict != nil {
			d.recorded = &inner.Verdict.OK
		}
	}
	// A fact that this version does not know could decide.
	if err := strictly(value, &d.facts); err != nil {
		return nil, fmt.Errorf("%s holds no facts that can be judged: %w", name, err)
	}
	return d, nil
}

// strictly decodes JSON, and refuses fields that are not known.
func strictly(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// judge evaluates and prints.
func (d *decision) judge(c *call, p policy.Policy, format string) error {
	revision := p.Revision()
	switch d.facts.PolicyRevision {
	case revision:
	case "":
		// Facts that somebody wrote are about whatever policy they are tried on.
		d.adopt(revision)
	default:
		fmt.Fprintf(c.stderr, "note: the facts were gathered under policy %s, this is %s: it is another policy than the one that decided\n",
			short(d.facts.PolicyRevision), short(revision))
	}
	v := policy.Evaluate(p, d.facts)
	if d.recorded != nil && *d.recorded != v.OK {
		fmt.Fprintf(c.stderr, "note: the record says %s, and this is %s\n", outcome(*d.recorded), outcome(v.OK))
	}
	if err := printVerdict(c.stdout, v, format); err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if !v.OK {
		return exitError{code: 2}
	}
	return nil
}

// adopt fills in the revision where the facts name none.
func (d *decision) adopt(revision string) {
	d.facts.PolicyRevision = revision
	for i := range d.facts.Votes {
		if d.facts.Votes[i].PolicyRevision == "" {
			d.facts.Votes[i].PolicyRevision = revision
		}
	}
}

func outcome(ok bool) string {
	if ok {
		return "allow"
	}
	return "deny"
}

func short(revision string) string {
	if len(revision) > 12 {
		return revision[:12]
	}
	return revision
}

func printVerdict(w io.Writer, v policy.Verdict, format string) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	var b strings.Builder
	writeNode(&b, v.Node, "")
	fmt.Fprintln(&b, outcome(v.OK))
	_, err := io.WriteString(w, b.String())
	return err
}

// writeNode writes a node and what is below it. What was read from a file is
// kept from steering the terminal.
func writeNode(b *strings.Builder, n policy.Node, indent string) {
	mark := "✔"
	if !n.OK {
		mark = "✘"
	}
	fmt.Fprintf(b, "%s%s %s\n", indent, mark, visible(n.Title))
	indent += "  "
	for _, l := range []struct {
		what  string
		lines []string
	}{{"met by", n.Met}, {"missing", n.Missing}, {"not counted", n.NotCounted}} {
		for _, line := range l.lines {
			fmt.Fprintf(b, "%s%s: %s\n", indent, l.what, visible(line))
		}
	}
	for _, child := range n.Children {
		writeNode(b, child, indent)
	}
}

// visible replaces what could rewrite the terminal.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
