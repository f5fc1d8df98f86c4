package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

func full() Record {
	return Record{
		Time: time.Date(2026, 11, 22, 18, 30, 15, 123456789, time.FixedZone("", 3600)), Type: Gate,
		Repo: forge.RepoRef{ID: 1, Owner: "acme", Name: "shop"}, Pull: 7,
		Actor: Actor{Forge: "github", ID: 583231, Login: "octocat"}, CommentID: 99, DeliveryID: "72d3162e",
		Head: "0123456789abcdef0123456789abcdef01234567", Base: "89abcdef0123456789abcdef0123456789abcdef",
		PlanDigest: "sha256:aa11", PolicyRevision: "fedcba98", Target: "shop/prod", Operation: "op-1",
		Outcome: "deny", Reason: "1 of 2 approvals <missing> & \u2028 größer",
		Facts: json.RawMessage(`{"z":[1,2.50,1e3,12345678901234567890],"a":{"b":null,"B":"<&>"}}`), Tool: "lockkeeper 0.1.0",
	}
}

func sealed(t *testing.T, n int) []Record {
	t.Helper()
	var all []Record
	head := Genesis
	for i := range n {
		r := full()
		r.Pull = i + 1
		r, err := Seal(head, r)
		if err != nil {
			t.Fatal(err)
		}
		head = Head{r.Seq, r.Hash}
		all = append(all, r)
	}
	return all
}

// Records written today must verify for as long as trails are kept: these
// texts may never change.
func TestCanonicalFormIsStable(t *testing.T) {
	r := sealed(t, 1)[0]
	form, err := r.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"actor":{"forge":"github","id":583231,"login":"octocat"},"base":"89abcdef0123456789abcdef0123456789abcdef","commentId":99,"deliveryId":"72d3162e","facts":{"a":{"B":"<&>","b":null},"z":[1,2.50,1e3,12345678901234567890]},"head":"0123456789abcdef0123456789abcdef01234567","operation":"op-1","outcome":"deny","planDigest":"sha256:aa11","policyRevision":"fedcba98","prev":"0000000000000000000000000000000000000000000000000000000000000000","pull":1,"reason":"1 of 2 approvals <missing> & \u2028 größer","repo":{"id":1,"name":"shop","owner":"acme"},"seq":1,"target":"shop/prod","time":"2026-11-22T17:30:15.123456Z","tool":"lockkeeper 0.1.0","type":"gate"}`
	if string(form) != want {
		t.Errorf("canonical form is\n%s\nwant\n%s", form, want)
	}
	const hash = "8ad8c299cea728bc5b349fbfc078f31360e0f4d962c8a8cfbdc95143b3202f64"
	if r.Hash != hash {
		t.Errorf("hash is %s, want %s", r.Hash, hash)
	}
	empty, err := Seal(Genesis, Record{})
	if err != nil {
		t.Fatal(err)
	}
	if form, err = empty.Canonical(); err != nil || string(form) != `{"actor":{},"prev":"`+GenesisHash+`","repo":{"id":0,"name":"","owner":""},"seq":1,"time":"0001-01-01T00:00:00Z","type":""}` {
		t.Errorf("canonical form of an empty record is\n%s, %v", form, err)
	}
}

func TestWholeChainVerifies(t *testing.T) {
	all := sealed(t, 5)
	head, err := Verify(Genesis, all)
	if err != nil || head != (Head{5, all[4].Hash}) {
		t.Errorf("head %+v, %v", head, err)
	}
	head, err = Verify(Genesis, all[:2])
	if err != nil {
		t.Fatal(err)
	}
	if head, err = Verify(head, all[2:]); err != nil || head.Seq != 5 {
		t.Errorf("in two pages: head %+v, %v", head, err)
	}
	if head, err = Verify(Genesis, nil); err != nil || head != Genesis {
		t.Errorf("an empty trail: %+v, %v", head, err)
	}
}

// Every field of every depth is covered by the hash; a field added later is
// found by reflection and has to be as well.
func TestChangeOfAnyFieldIsFound(t *testing.T) {
	var tampered int
	var walk func(path string, of func(*Record) reflect.Value)
	walk = func(path string, of func(*Record) reflect.Value) {
		var zero Record
		if v := of(&zero); v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]() {
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, func(r *Record) reflect.Value { return of(r).Field(i) })
			}
			return
		}
		tampered++
		all := sealed(t, 3)
		tamper(t, path, of(&all[1]))
		var bad *ChainError
		if _, err := Verify(Genesis, all); !errors.As(err, &bad) || bad.Index != 1 {
			t.Errorf("%s changed in record 2: %v, want record 2 named", path, err)
		}
	}
	walk("Record", func(r *Record) reflect.Value { return reflect.ValueOf(r).Elem() })
	if tampered < 20 {
		t.Errorf("only %d fields were tried", tampered)
	}
}

func tamper(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch old := v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(old.Add(time.Microsecond)))
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(strings.Replace(string(old), "2.50", "2.5", 1))))
	default:
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		default:
			t.Fatalf("%s: the test cannot change a %s", path, v.Type())
		}
	}
}

func TestChangeOfTheSequenceIsFound(t *testing.T) {
	// rehash makes a record consistent in itself again, as a forger would.
	rehash := func(r Record) Record {
		hash, err := r.digest()
		if err != nil {
			t.Fatal(err)
		}
		r.Hash = hash
		return r
	}
	for name, c := range map[string]struct {
		forge func(all []Record) []Record
		index int
		say   string
	}{
		"one removed":      {func(a []Record) []Record { return append(a[:2:2], a[3:]...) }, 2, "1 missing"},
		"first removed":    {func(a []Record) []Record { return a[1:] }, 0, "record 1 should come here"},
		"two swapped":      {func(a []Record) []Record { a[1], a[2] = a[2], a[1]; return a }, 1, "record 2 should come here"},
		"one doubled":      {func(a []Record) []Record { return append(a[:2:2], a[1:]...) }, 2, "doubled"},
		"one rewritten":    {func(a []Record) []Record { a[1].Outcome = "allow"; a[1] = rehash(a[1]); return a }, 2, "was replaced"},
		"first rewritten":  {func(a []Record) []Record { a[0].Prev = a[1].Hash; a[0] = rehash(a[0]); return a }, 0, "predecessor"},
		"removed, renamed": {func(a []Record) []Record { a[2].Seq = 2; a[2] = rehash(a[2]); return append(a[:1:1], a[2:]...) }, 1, "predecessor"},
	} {
		all := c.forge(sealed(t, 4))
		var bad *ChainError
		if _, err := Verify(Genesis, all); !errors.As(err, &bad) || bad.Index != c.index || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want index %d and %q", name, err, c.index, c.say)
		} else if bad.Seq != all[c.index].Seq {
			t.Errorf("%s: names record %d", name, bad.Seq)
		}
	}
	// What is cut off at the end shows against a head kept elsewhere only.
	all := sealed(t, 4)
	if head, err := Verify(Genesis, all[:3]); err != nil || head == (Head{4, all[3].Hash}) {
		t.Errorf("cut off: %+v, %v", head, err)
	}
}

func TestFactsWithHiddenPartsAreFound(t *testing.T) {
	for _, facts := range []string{`{"a":1,"a":2}`, `{"a":2} `, `{"b":1,"a":2}`, `{"a":2}{}`, `{`} {
		r := sealed(t, 1)[0]
		r.Facts = json.RawMessage(facts)
		if hash, err := r.digest(); err == nil {
			r.Hash = hash
		}
		if err := Check(r); err == nil || !strings.Contains(err.Error(), "facts") {
			t.Errorf("facts %s: %v", facts, err)
		}
	}
}

func TestSealRefusesWhatWouldNotReadBack(t *testing.T) {
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for name, r := range map[string]Record{
		"broken facts":  {Facts: json.RawMessage(`{"a"`)},
		"two values":    {Facts: json.RawMessage(`1 2`)},
		"doubled key":   {Facts: json.RawMessage(`{"a":1,"a":1}`)},
		"deep facts":    {Facts: json.RawMessage(deep)},
		"bytes in text": {Reason: "\xff"},
		"bytes in fact": {Facts: json.RawMessage("\"\xff\"")},
	} {
		if _, err := Seal(Genesis, r); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func TestRecordsReadBackAsWritten(t *testing.T) {
	all := sealed(t, 3)
	var out bytes.Buffer
	if err := JSONLines(&out, all); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	var back []Record
	for _, line := range lines {
		r, err := Decode([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		back = append(back, r)
	}
	if !reflect.DeepEqual(back, all) {
		t.Errorf("read back\n%+v\nwant\n%+v", back, all)
	}
	if _, err := Verify(Genesis, back); err != nil {
		t.Error(err)
	}
	for name, line := range map[string]string{"unknown field": `{"seq":1,"extra":2}`, "two": lines[0] + lines[1], "empty": "", "list": "[]"} {
		if _, err := Decode([]byte(line)); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

func TestTextIsForPeople(t *testing.T) {
	all := sealed(t, 2)
	all[1].Actor, all[1].Repo, all[1].Reason = Actor{}, forge.RepoRef{}, ""
	all[0].Actor.Login, all[0].Reason = "eve\x1b[2J\u202e", "line\nbreak\u200b"
	var out bytes.Buffer
	if err := Text(&out, all); err != nil {
		t.Fatal(err)
	}
	const want = "    1  2026-11-22T17:30:15Z  gate  acme/shop pull 1  by eve\ufffd[2J\ufffd (github:583231)  target=shop/prod  head=0123456789ab  plan=aa11  operation=op-1  outcome=deny\n" +
		"      line\ufffdbreak\ufffd\n" +
		"    2  2026-11-22T17:30:15Z  gate  by lockkeeper  target=shop/prod  head=0123456789ab  plan=aa11  operation=op-1  outcome=deny\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	full := fullWriter{}
	if Text(full, all) == nil || JSONLines(full, all) == nil {
		t.Error("a full disk goes unnoticed")
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// FuzzDecode: whatever is read as a record and checks out keeps its hash when
// it is written and read again.
func FuzzDecode(f *testing.F) {
	r, err := Seal(Genesis, full())
	if err != nil {
		f.Fatal(err)
	}
	line, err := Encode(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"seq":1,"facts":{"a":1,"a":2}}`))
	f.Add([]byte(`{"facts":[[[[]]]],"time":"2026-01-01T00:00:00+23:59"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := Decode(line)
		if err != nil || Check(r) != nil {
			return
		}
		again, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(back); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// FuzzSeal: every facts that Seal takes verify afterwards, and their canonical
// form is its own canonical form.
func FuzzSeal(f *testing.F) {
	f.Add([]byte(`{"b":[1,"x"],"a":null}`), "reason")
	f.Add([]byte(`1e400`), "\u2028")
	f.Fuzz(func(t *testing.T, facts []byte, reason string) {
		r, err := Seal(Genesis, Record{Facts: facts, Reason: reason})
		if err != nil {
			return
		}
		if _, err := Verify(Genesis, []Record{r}); err != nil {
			t.Error(err)
		}
		line, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(Genesis, []Record{back}); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	})
}

func ExampleText() {
	r, err := Seal(Genesis, Record{
		Time: time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC), Type: Refusal, Repo: forge.RepoRef{ID: 1, Owner: "acme", Name: "shop"}, Pull: 7,
		Actor: Actor{"github", 5, "eve"}, Outcome: "deny", Reason: "eve is a contributor",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var out bytes.Buffer
	if err := Text(&out, []Record{r}); err != nil {
		fmt.Println(err)
	}
	fmt.Print(out.String())
	// Output:
	//     1  2026-11-22T18:00:00Z  refusal  acme/shop pull 7  by eve (github:5)  outcome=deny
	//       eve is a contributor
}
