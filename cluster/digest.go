package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// DigestChange is the digest of a change: SHA-256 over the canonical JSON of
// the target's effective configuration, the ref, the action, the fields that
// differ (without server-assigned ones) and the takeovers. secret replaces the
// placeholder of a masked field by a keyed hash of its two values; it is called
// with the field's path and may be nil when no field is masked.
func DigestChange(t Target, c Change, secret func(path string) string) (string, error) {
	type field struct {
		Path          string
		Op            Op
		Before, After any
		Secret        string
	}
	fields := make([]field, 0, len(c.Fields))
	for _, f := range c.Fields {
		switch {
		case f.Server:
		case f.Masked && secret == nil:
			return "", fmt.Errorf("digest of %s: field %s is masked and no key is at hand", c.Ref, f.Path)
		case f.Masked:
			fields = append(fields, field{Path: f.Path, Op: f.Op, Secret: secret(f.Path)})
		default:
			fields = append(fields, field{Path: f.Path, Op: f.Op, Before: f.Before, After: f.After})
		}
	}
	return digest(struct {
		Target         Target
		Ref            Ref
		APIVersion     string
		Action         Action
		Fields         []field
		Takeovers      []Ownership
		Managers       []string
		Stays          []Ownership
		From, Verified string
	}{t, c.Ref, c.APIVersion, c.Action, fields, c.Takeovers, c.Managers, c.Stays, c.From, c.Unverified})
}

// DigestPlan is the digest of a plan: over its target and the sorted digests
// of its changes and of the drift on the objects it touches.
func DigestPlan(p *Plan) (string, error) {
	changes := make([]string, 0, len(p.Changes))
	for _, c := range p.Changes {
		changes = append(changes, c.Digest)
	}
	slices.Sort(changes)
	return digest(struct {
		Target  Target
		Changes []string
		Drift   []Drift
	}{p.Target, changes, p.Drift})
}

// digest hashes v's JSON: encoding/json sorts map keys and keeps struct order,
// which makes it canonical for the types used here.
func digest(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
