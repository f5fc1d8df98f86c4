// Package check refuses what must not be given to git: half hashes, malformed
// refs, what it could take for an option, and URLs that it would not fetch safely.
package check

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

var hash = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)

// SHA refuses everything but a full lower-case object hash.
func SHA(sha string) error {
	if !hash.MatchString(sha) {
		return fmt.Errorf("%q is not a full object hash (40 lower-case hex digits)", sha)
	}
	return nil
}

// SHAs refuses if SHA refuses any of them.
func SHAs(shas ...string) error {
	for _, sha := range shas {
		if err := SHA(sha); err != nil {
			return err
		}
	}
	return nil
}

// badInRef are the characters and sequences that git-check-ref-format refuses.
var badInRef = regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|/$|\.$|\.lock(?:/|$)`)

// Ref refuses everything but a full, well-formed ref name.
func Ref(ref string) error {
	if !strings.HasPrefix(ref, "refs/") || len(ref) > 500 || badInRef.MatchString(ref) {
		return fmt.Errorf("%q is not a full ref name such as refs/heads/main", ref)
	}
	return nil
}

// Revision lets through what a person types for a commit (HEAD~2,
// origin/main, 1a2b3c4) and nothing that git could take for an option or a range.
func Revision(rev string) error {
	bad := rev == "" || len(rev) > 500 || strings.HasPrefix(rev, "-") || strings.HasPrefix(rev, "^") ||
		strings.Contains(rev, "..") || strings.ContainsFunc(rev, func(r rune) bool { return r <= ' ' || r == 0x7f })
	if bad {
		return fmt.Errorf("%q does not name a commit; give a branch, a tag or a hash", rev)
	}
	return nil
}

// URL refuses URLs that git would not fetch safely. Its errors never
// hold the URL's user information.
func URL(raw string, files bool) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("the repository's URL cannot be parsed; it must be an http(s) URL")
	}
	if u.User != nil {
		return fmt.Errorf("the repository's URL (%s) holds credentials; they belong in the server config", u.Redacted())
	}
	if strings.HasPrefix(raw, "-") || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("the repository's URL %q holds characters a URL cannot hold", raw)
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return fmt.Errorf("the repository's URL %q names no host", raw)
		}
		return nil
	case "file":
		if files && strings.HasPrefix(u.Path, "/") {
			return nil
		}
	}
	return fmt.Errorf("the repository's URL %q is refused: only http and https are fetched", raw)
}

// Auth refuses a header value that would smuggle in further headers.
func Auth(auth string) error {
	if strings.ContainsAny(auth, "\r\n\x00") {
		return fmt.Errorf("the credential for Git holds a line break; check the token in the server config")
	}
	return nil
}
