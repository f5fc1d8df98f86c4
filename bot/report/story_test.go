package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"lockkeeper/bot/plan"
	"lockkeeper/forge"
)

// update rewrites what the stories chosen with -run want to see:
//
//	go test ./bot/report -run TestStories/name -update
var update = flag.Bool("update", false, "rewrite the wanted texts of the stories that run")

const stories = "../../testdata/stories/report"

// TestStories tells each story of testdata/stories/report: its input is a
// view, a reply or a plan in JSON, the rest is what people are to read.
func TestStories(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(stories, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories in %s: %v", stories, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { tell(t, file) })
	}
}

func tell(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	inputs, wanted := split(archive)
	got := play(t, inputs)
	again := play(t, inputs)
	for i, f := range got {
		if !bytes.Equal(f.Data, again[i].Data) {
			t.Errorf("%s differs when written twice", f.Name)
		}
	}
	if *update {
		archive.Files = append(inputs, got...)
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(got) != len(wanted) {
		t.Errorf("got %d texts, want %d", len(got), len(wanted))
	}
	for i := range min(len(got), len(wanted)) {
		if got[i].Name != wanted[i].Name || !bytes.Equal(got[i].Data, wanted[i].Data) {
			t.Errorf("%s is not as wanted (%s; -update after looking):\n%s", got[i].Name, wanted[i].Name, got[i].Data)
		}
	}
}

// split tells the inputs, which end in .json or are the limit, from the rest.
func split(a *txtar.Archive) (inputs, wanted []txtar.File) {
	for _, f := range a.Files {
		if strings.HasSuffix(f.Name, ".json") || f.Name == "limit" {
			inputs = append(inputs, f)
		} else {
			wanted = append(wanted, f)
		}
	}
	return inputs, wanted
}

func play(t *testing.T, inputs []txtar.File) []txtar.File {
	t.Helper()
	limit := defaultLimit
	var out []txtar.File
	add := func(name, text string) {
		if text != "" && !strings.HasSuffix(text, "\n") {
			t.Errorf("%s does not end with a line break", name)
		}
		out = append(out, txtar.File{Name: name, Data: []byte(text)})
	}
	for _, f := range inputs {
		switch f.Name {
		case "limit":
			n, err := strconv.Atoi(strings.TrimSpace(string(f.Data)))
			noError(t, err)
			limit = n
		case "view.json":
			var v View
			decode(t, f.Data, &v)
			bodies, err := Sticky(v, forge.Limits{Comment: limit})
			noError(t, err)
			sound(t, v.Key, bodies, limit)
			for i, b := range bodies {
				add(fmt.Sprintf("part%d.md", i+1), b)
			}
			title, text, err := Check(v, limit)
			noError(t, err)
			quiet(t, text)
			add("check.md", title+"\n---\n"+text)
		case "reply.json":
			var r Reply
			decode(t, f.Data, &r)
			body, err := r.Body()
			noError(t, err)
			sound(t, r.Key, []string{body}, limit)
			add("reply.md", body)
		case "bypasses.json":
			var v Bypasses
			decode(t, f.Data, &v)
			body, err := v.Body(limit)
			noError(t, err)
			sound(t, v.Key, []string{body}, limit)
			add("issue.md", v.Title()+"\n---\n"+body)
		case "drift.json":
			var v Drift
			decode(t, f.Data, &v)
			body, err := v.Body(limit)
			noError(t, err)
			sound(t, v.Key, []string{body}, limit)
			add("drift.md", v.Title()+"\n---\n"+body)
		case "mass.json":
			var v MassDrift
			decode(t, f.Data, &v)
			body, err := v.Body(limit)
			noError(t, err)
			sound(t, v.Key, []string{body}, limit)
			add("issue.md", v.Title()+"\n---\n"+body)
		case "plan.json":
			var o plan.Output
			decode(t, f.Data, &o)
			var text, markdown bytes.Buffer
			noError(t, Text(&text, &o))
			noError(t, Markdown(&markdown, &o))
			add("plan.txt", text.String())
			add("plan.md", markdown.String())
			sound(t, "offline", []string{markdown.String()}, 1<<30)
		}
	}
	return out
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	noError(t, d.Decode(into))
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
