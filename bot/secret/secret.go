// Package secret keeps credentials out of logs, errors and documents
// (invariant 6, threat 8): a type that shows itself as "[redacted]" wherever
// it is printed or encoded, and a Redactor that removes the registered values
// from every log record, however they got there.
package secret

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Mark is what is shown in place of a secret.
const Mark = "[redacted]"

// Secret is a credential. Only Reveal gives its value; printing it with any
// verb, logging it and encoding it show Mark. (A Secret in an unexported field
// of a struct that is printed is beyond the reach of a type: register it.)
type Secret string

// Reveal returns the value, to be handed to whoever needs it and not kept.
func (s Secret) Reveal() string { return string(s) }

// String returns Mark.
func (Secret) String() string { return Mark }

// Format writes Mark, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, Mark) // fmt keeps its writer's errors to itself
}

// LogValue returns Mark.
func (Secret) LogValue() slog.Value { return slog.StringValue(Mark) }

// MarshalText returns Mark; it serves YAML and others.
func (Secret) MarshalText() ([]byte, error) { return []byte(Mark), nil }

// MarshalJSON returns Mark as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(Mark) }

// shortest is the length below which a value is not looked for: it would hit
// ordinary text. Nothing that short is a secret.
const shortest = 6

// Redactor replaces registered values in texts. It is safe for concurrent
// use, and its zero value knows no secrets.
type Redactor struct {
	mu       sync.RWMutex
	forms    []string // sorted, longest first
	replacer *strings.Replacer
}

// Register adds values to look for, also as they appear in URLs, in JSON, in
// base64 at any offset (Basic authorization), and line by line (PEM keys).
// Values shorter than 6 bytes are ignored.
func (r *Redactor) Register(values ...Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range values {
		r.forms = append(r.forms, formsOf(v.Reveal())...)
	}
	slices.SortFunc(r.forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a) // the longest first, or a part would leave the rest
		}
		return strings.Compare(a, b)
	})
	r.forms = slices.Compact(r.forms)
	pairs := make([]string, 0, 2*len(r.forms))
	for _, f := range r.forms {
		pairs = append(pairs, f, Mark)
	}
	r.replacer = strings.NewReplacer(pairs...)
}

func formsOf(value string) []string {
	if len(value) < shortest {
		return nil
	}
	forms := []string{value, strings.TrimSpace(value), url.QueryEscape(value), url.PathEscape(value)}
	forms = append(forms, strings.TrimPrefix(url.UserPassword("", value).String(), ":"))
	if quoted, err := json.Marshal(value); err == nil {
		forms = append(forms, strings.Trim(string(quoted), `"`))
	}
	forms = append(forms, base64Forms(value)...)
	if lines := strings.Split(value, "\n"); len(lines) > 1 {
		for _, line := range lines {
			// Armour lines ("-----BEGIN") are no secret.
			if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "-----") {
				forms = append(forms, line)
			}
		}
	}
	return slices.DeleteFunc(forms, func(f string) bool { return len(f) < shortest })
}

// base64Forms are the parts of a base64 text that depend on value alone, for
// each of the three places where value may begin in a group of three bytes.
func base64Forms(value string) []string {
	var forms []string
	for offset := range 3 {
		padded := strings.Repeat("\x00", offset) + value
		whole := padded[:len(padded)/3*3]
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			text := enc.EncodeToString([]byte(whole))
			forms = append(forms, text[min(len(text), (offset*8+5)/6):])
		}
	}
	return forms
}

// Redact returns text with Mark in place of every registered value.
func (r *Redactor) Redact(text string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.replacer == nil {
		return text
	}
	return r.replacer.Replace(text)
}

// Error is err with a redacted text, or nil; errors.Is and errors.As see through
// it.
func (r *Redactor) Error(err error) error {
	if err == nil {
		return nil
	}
	return &redacted{r.Redact(err.Error()), err}
}

type redacted struct {
	text string
	err  error
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.err }
