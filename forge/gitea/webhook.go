package gitea

import (
	"net/http"

	"lockkeeper/forge"
	"lockkeeper/forge/gitea/internal/webhook"
)

// Verify checks a delivery's signature against the body as received and each
// secret in turn. It never passes for want of a secret (threat 13).
func Verify(h http.Header, body []byte, secrets [][]byte) error {
	return webhook.Verify(h, body, secrets)
}

// ParseEvent reads a verified delivery. An event that lockkeeper does not act on
// gives an Event without Pull and no error.
func ParseEvent(h http.Header, body []byte) (forge.Event, error) {
	return webhook.ParseEvent(h, body)
}
