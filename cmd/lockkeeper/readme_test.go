package main

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"lockkeeper/bot/command"
	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
)

const readmePath = "../../README.md"

var update = flag.Bool("update", false, "write the generated parts of the README anew")

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGeneratedPartsOfTheReadmeAreCurrent(t *testing.T) {
	text := readme(t)
	for name, want := range map[string]string{
		"comment": exampleComment(t), "commands": command.Markdown(), "shape": jsonShape(),
	} {
		begin, end := "<!-- generated: "+name+" -->\n", "<!-- end -->"
		before, rest, ok := strings.Cut(text, begin)
		if !ok {
			t.Fatalf("the README has no part %s", name)
		}
		got, after, _ := strings.Cut(rest, end)
		if *update {
			text = before + begin + want + end + after
			continue
		}
		if got != want {
			t.Errorf("the part %s of the README is not current (go test ./cmd/lockkeeper -run Readme -update); want\n%s", name, want)
		}
	}
	if *update {
		if err := os.WriteFile(readmePath, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// exampleComment is the story "denied", without its long middle.
func exampleComment(t *testing.T) string {
	t.Helper()
	story, err := txtar.ParseFile("../../testdata/stories/report/denied.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range story.Files {
		if f.Name != "part1.md" {
			continue
		}
		_, body, _ := strings.Cut(string(f.Data), "\n") // the hidden marker
		head, rest, ok := strings.Cut(body, "<details><summary><b>production</b>")
		_, tail, ok2 := strings.Cut(rest, "**What is missing**")
		if !ok || !ok2 {
			t.Fatal("the story has another shape")
		}
		return head + "…\n\n**What is missing**" + tail
	}
	t.Fatal("the story has no comment")
	return ""
}

// jsonShape lists every key of a plan's JSON, from the Go types.
func jsonShape() string {
	var b strings.Builder
	b.WriteString("```text\n")
	keys(&b, "", reflect.TypeFor[plan.Output]())
	b.WriteString("```\n")
	return b.String()
}

func keys(b *strings.Builder, path string, t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer:
		keys(b, path, t.Elem())
	case reflect.Slice:
		keys(b, path+"[]", t.Elem())
	case reflect.Struct:
		for f := range fields(t) {
			name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			if strings.Contains(rest, "omitempty") {
				name += "?"
			}
			keys(b, strings.TrimPrefix(path+"."+name, "."), f.Type)
		}
	default:
		kind := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "true or false", reflect.Interface: "any value"}[t.Kind()]
		if kind == "" {
			kind = "number"
		}
		fmt.Fprintf(b, "%s: %s\n", path, kind)
	}
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

func TestExamplesInTheReadmeAreValid(t *testing.T) {
	found := map[string]int{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n# (\\S+)\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		name, text := m[1], []byte(m[2])
		found[name]++
		var err error
		if name == config.RepoFile {
			_, err = config.ParseFile(name, text)
		} else {
			_, err = config.ParseServer(name, text)
		}
		if err != nil {
			t.Errorf("the example is wrong: %v", err)
		}
	}
	if found[config.RepoFile] == 0 || found["server.yaml"] == 0 {
		t.Errorf("examples found: %v", found)
	}
}

func TestCommandsInTheReadmeExist(t *testing.T) {
	known := map[string]bool{"help": true}
	for _, s := range subcommands() {
		known[s.name] = true
	}
	for _, m := range regexp.MustCompile("(?:`|```sh\n)lockkeeper ([a-z]+)").FindAllStringSubmatch(readme(t), -1) {
		if !known[m[1]] {
			t.Errorf("the README names `lockkeeper %s`, which there is not", m[1])
		}
	}
}

func TestFilesNamedInTheReadmeExist(t *testing.T) {
	for _, m := range regexp.MustCompile("`((?:deploy|bot|cmd)/[a-z0-9/._-]*|LICENSE)`").FindAllStringSubmatch(readme(t), -1) {
		if _, err := os.Stat("../../" + m[1]); err != nil {
			t.Errorf("the README names %s: %v", m[1], err)
		}
	}
}
