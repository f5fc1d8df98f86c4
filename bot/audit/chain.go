package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// GenesisHash is what the first record names as its predecessor.
const GenesisHash = "0000000000000000000000000000000000000000000000000000000000000000"

// Head is the newest record of a chain: keep it elsewhere and a later Verify
// shows whether records were cut off since.
type Head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// Genesis is the Head of an empty chain.
var Genesis = Head{Seq: 0, Hash: GenesisHash}

// Seal makes r the record after prev: it normalizes the time (UTC,
// microseconds) and the facts (canonical JSON), numbers r, ties it to prev and
// sets its hash. It fails when a text is not UTF-8 or the facts are not one
// JSON value, since neither would read back as it was written.
func Seal(prev Head, r Record) (Record, error) {
	r.Seq, r.Prev, r.Hash = prev.Seq+1, prev.Hash, ""
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	if len(r.Facts) > 0 {
		facts, err := canonicalJSON(r.Facts)
		if err != nil {
			return Record{}, fmt.Errorf("audit record %s: facts: %w", r.Type, err)
		}
		r.Facts = facts
	} else {
		r.Facts = nil
	}
	for _, s := range r.texts() {
		if !utf8.ValidString(s) {
			return Record{}, fmt.Errorf("audit record %s: text %q is not UTF-8", r.Type, s)
		}
	}
	hash, err := r.digest()
	if err != nil {
		return Record{}, err
	}
	r.Hash = hash
	return r, nil
}

func (r Record) texts() []string {
	return []string{string(r.Type), r.Repo.Owner, r.Repo.Name, r.Actor.Forge, r.Actor.Login,
		r.DeliveryID, r.Head, r.Base, r.PlanDigest, r.PolicyRevision, r.Target, r.Operation,
		r.Outcome, r.Reason, r.Tool}
}

// Canonical is the form that is hashed: JSON of every field but Hash, keys
// sorted by bytes, no white space, numbers as they were written, strings as
// encoding/json writes them without HTML escapes.
func (r Record) Canonical() ([]byte, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("audit record %d: %w", r.Seq, err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("audit record %d: %w", r.Seq, err)
	}
	delete(fields, "hash")
	if raw, err = json.Marshal(fields); err != nil {
		return nil, fmt.Errorf("audit record %d: %w", r.Seq, err)
	}
	return canonicalJSON(raw)
}

func (r Record) digest() (string, error) {
	form, err := r.Canonical()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(form)
	return hex.EncodeToString(sum[:]), nil
}

// ChainError names the first record at which a chain is not what was written.
type ChainError struct {
	Seq     int64 // the record's own number, as stored
	Index   int   // its place in what was checked, from 0
	Problem string
}

// Error says which record is wrong and how.
func (e *ChainError) Error() string {
	return fmt.Sprintf("audit record %d: %s", e.Seq, e.Problem)
}

// Verify checks that records follow from, without a gap, each unchanged and
// tied to the one before it, and returns the new Head. Long chains can be
// checked in pages. The error is a *ChainError naming the first bad record.
func Verify(from Head, records []Record) (Head, error) {
	for i, r := range records {
		if problem := follows(from, r); problem != "" {
			return from, &ChainError{Seq: r.Seq, Index: i, Problem: problem}
		}
		from = Head{Seq: r.Seq, Hash: r.Hash}
	}
	return from, nil
}

func follows(from Head, r Record) string {
	switch {
	case r.Seq > from.Seq+1:
		return fmt.Sprintf("record %d should come here: %d missing", from.Seq+1, r.Seq-from.Seq-1)
	case r.Seq <= from.Seq:
		return fmt.Sprintf("record %d should come here: out of order or doubled", from.Seq+1)
	}
	if err := Check(r); err != nil {
		return err.Error()
	}
	if r.Prev != from.Hash {
		return fmt.Sprintf("names %s as its predecessor, but record %d has the hash %s: one of them was replaced",
			short(r.Prev), from.Seq, short(from.Hash))
	}
	return ""
}

// Check tells whether one record still has the hash of its content. It is all
// that can be said of a selection of records, such as those of one pull.
func Check(r Record) error {
	if len(r.Facts) > 0 {
		facts, err := canonicalJSON(r.Facts)
		if err != nil {
			return fmt.Errorf("facts were changed: %w", err)
		}
		if !bytes.Equal(facts, r.Facts) {
			return errors.New("facts were changed: not in the form in which they were written")
		}
	}
	hash, err := r.digest()
	if err != nil {
		return err
	}
	if hash != r.Hash {
		return fmt.Errorf("was changed after it was written: its content has the hash %s, it claims %s",
			short(hash), short(r.Hash))
	}
	return nil
}

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}

// canonicalJSON rewrites one JSON value with sorted keys and no white space.
// A key that appears twice is an error, because readers disagree on which of
// the two counts.
func canonicalJSON(raw []byte) ([]byte, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := decodeValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// maxDepth bounds how deep facts may nest; verdict trees stay far below.
const maxDepth = 200

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	switch tok {
	case json.Delim('{'):
		return decodeObject(dec, depth)
	case json.Delim('['):
		return decodeArray(dec, depth)
	}
	return tok, nil
}

func decodeObject(dec *json.Decoder, depth int) (any, error) {
	obj := map[string]any{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		key := tok.(string) // the decoder admits nothing else here
		if _, twice := obj[key]; twice {
			return nil, fmt.Errorf("key %q appears twice", key)
		}
		if obj[key], err = decodeValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return obj, nil
}

func decodeArray(dec *json.Decoder, depth int) (any, error) {
	arr := []any{}
	for dec.More() {
		v, err := decodeValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		arr = append(arr, v)
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return arr, nil
}

// Encode is a record as JSON Lines and the store hold it, Decode's inverse.
func Encode(r Record) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // else facts would not read back byte by byte
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("audit record %d: %w", r.Seq, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Decode reads one record as JSON Lines or the store hold it. Unknown fields
// are an error: they would not be part of the hash.
func Decode(line []byte) (Record, error) {
	dec := json.NewDecoder(strings.NewReader(string(line)))
	dec.DisallowUnknownFields()
	var r Record
	if err := dec.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("audit record: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Record{}, errors.New("audit record: more than one JSON value")
	}
	return r, nil
}
