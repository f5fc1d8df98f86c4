package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

const token = "ghs_S3cr3t/T0ken+42"

// Threat 8: a typed secret shows itself nowhere.
func TestSecretShowsOnlyItsMark(t *testing.T) {
	s := Secret(token)
	type holder struct {
		Token Secret
		List  []Secret
		Map   map[string]Secret
	}
	h := holder{s, []Secret{s}, map[string]Secret{"k": s}}
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%t"} {
		texts = append(texts, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, h))
	}
	texts = append(texts, fmt.Sprint(s), s.String(), fmt.Errorf("auth: %v", s).Error())
	doc, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	texts = append(texts, string(doc))
	for _, handler := range []func(*bytes.Buffer) slog.Handler{
		func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		slog.New(handler(&out)).Info("m", "token", s, "holder", h)
		texts = append(texts, out.String())
	}
	for _, text := range texts {
		if strings.Contains(text, token) || strings.Contains(text, fmt.Sprintf("%x", token)) {
			t.Errorf("shows the secret: %s", text)
		}
	}
	if !strings.Contains(string(doc), `"Token":"[redacted]"`) {
		t.Errorf("JSON: %s", doc)
	}
	if s.Reveal() != token {
		t.Error("Reveal gives something else")
	}
}

func TestSecretIsReadFromJSON(t *testing.T) {
	var v struct{ Token Secret }
	if err := json.Unmarshal([]byte(`{"Token":"`+token+`"}`), &v); err != nil || v.Token.Reveal() != token {
		t.Errorf("got %q, %v", v.Token.Reveal(), err)
	}
}

func TestRedactorFindsEveryForm(t *testing.T) {
	const pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAx1234567890\nabcdefghijklmnopqrstuvwxyz\n-----END RSA PRIVATE KEY-----\n"
	var r Redactor
	if r.Redact(token) != token {
		t.Fatal("an empty Redactor changes texts")
	}
	r.Register(token, "", "abc", pem, token+"-longer")
	quoted, err := json.Marshal(map[string]string{"key": pem})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		token, "x" + token + "y", token + "-longer",
		"https://x-access-token:" + url.PathEscape(token) + "@github.com/",
		"https://example.com/?token=" + url.QueryEscape(token),
		"postgres://" + url.UserPassword("bot", token).String() + "@db/x",
		"line: MIIEowIBAAKCAQEAx1234567890", string(quoted),
	} {
		got := r.Redact(text)
		if !strings.Contains(got, Mark) || strings.Contains(got, "S3cr3t") || strings.Contains(got, "MIIEow") || strings.Contains(got, "-longer") {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	for _, user := range []string{"", "a", "ab", "abc", "x-access-token:"} {
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
			text := enc.EncodeToString([]byte(user + token))
			if got := r.Redact("Authorization: Basic " + text); !strings.Contains(got, Mark) {
				t.Errorf("the token behind %q is not found in base64 %s: %s", user, text, got)
			}
		}
	}
	const plain = "abc: a text with nothing in it"
	if got := r.Redact(plain); got != plain {
		t.Errorf("%q becomes %q", plain, got)
	}
}

type opaque struct{ inner string }

// Threat 8: whatever way a registered value gets into a log record.
func TestHandlerRedactsWhereverTheValueIs(t *testing.T) {
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var r Redactor
			r.Register(token)
			var out bytes.Buffer
			log := slog.New(r.Handler(handler(&out)))
			wrapped := fmt.Errorf("push: %w", errors.New("https://u:"+token+"@host refused"))
			log.Info("got " + token)
			log.Info("m", "err", wrapped)
			log.Info("m", "url", &url.URL{Scheme: "https", User: url.UserPassword("u", token), Host: "h"})
			log.Info("m", "bytes", []byte(token))
			log.Info("m", "map", map[string]string{"k": token})
			log.Info("m", "struct", opaque{token})
			log.Info("m", "json", struct{ A json.RawMessage }{json.RawMessage(`"` + token + `"`)})
			log.Info("m", slog.Group("g", "k", token, slog.Group("h", "k", token)))
			log.With("with", token).WithGroup("grp").Info("m", "k", token)
			log.Info("m", token, "as a key")
			if strings.Contains(out.String(), "S3cr3t") {
				t.Errorf("a secret got through:\n%s", out.String())
			}
			if n := strings.Count(out.String(), Mark); n < 11 {
				t.Errorf("%d marks, want 11 at least:\n%s", n, out.String())
			}
			out.Reset()
			log.Info("plain", "n", 7, "v", struct{ A int }{1})
			if !strings.Contains(out.String(), "plain") || strings.Contains(out.String(), Mark) {
				t.Errorf("harmless record changed: %s", out.String())
			}
			if log.Enabled(t.Context(), slog.LevelDebug) {
				t.Error("enables what the wrapped handler does not")
			}
		})
	}
}

func FuzzRedactLeavesNoSecret(f *testing.F) {
	f.Add("before "+token+" after", token)
	f.Add("aaaaaaaaaaaa", "aaaaaa")
	f.Fuzz(func(t *testing.T, text, value string) {
		var r Redactor
		r.Register(Secret(value))
		if len(value) < shortest {
			return
		}
		for _, between := range strings.Split(r.Redact(text), Mark) {
			if strings.Contains(between, value) {
				t.Errorf("%q still holds %q", between, value)
			}
		}
	})
}
