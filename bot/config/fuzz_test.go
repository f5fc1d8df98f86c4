package config_test

import (
	"os"
	"reflect"
	"testing"
	"testing/fstest"

	"go.yaml.in/yaml/v3"

	"lockkeeper/bot/config"
)

// seeds adds the good and the bad files of the other tests.
func seeds(f *testing.F) {
	f.Helper()
	shop, err := os.ReadFile("../../testdata/shop/" + config.RepoFile)
	if err != nil {
		f.Fatal(err)
	}
	_, _, archive := all(f)
	for _, file := range archive.Files[:2] {
		f.Add(file.Data)
	}
	for _, s := range []string{string(shop), server, "", "null", "[]", "- a", "a: &a [*a]", "targets: [{path: \"**\"}]", "\xff", "{", "---\n---\n"} {
		f.Add([]byte(s))
	}
}

// stable fails unless a file that is fine is fine again, and the same, after
// it was written out.
func stable(t *testing.T, first any, parse func([]byte) (any, error)) {
	t.Helper()
	text, err := yaml.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := parse(text)
	if err != nil {
		t.Fatalf("valid, but not after it was written out: %v\n%s", err, text)
	}
	again, err := yaml.Marshal(second)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != string(again) {
		t.Fatalf("not stable:\n%s---\n%s", text, again)
	}
}

func FuzzParseFile(f *testing.F) {
	seeds(f)
	_, operator, _ := all(f)
	lowest := floors(config.Compile(nil, operator))
	f.Fuzz(func(t *testing.T, data []byte) {
		parse := func(b []byte) (any, error) { return config.ParseFile(config.RepoFile, b) }
		file, err := config.ParseFile(config.RepoFile, data)
		file.Resolve(fstest.MapFS{"a/b.yaml": {}}, nil)
		if err == nil {
			stable(t, file, parse)
			beside := config.Compile(file, operator)
			evaluable(t, beside)
			if !reflect.DeepEqual(floors(beside), lowest) {
				t.Fatalf("the floors are %+v", floors(beside))
			}
		}
	})
}

func FuzzParseServer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		parse := func(b []byte) (any, error) { return config.ParseServer("server.yaml", b) }
		if s, err := config.ParseServer("server.yaml", data); err == nil {
			stable(t, s, parse)
			evaluable(t, config.Compile(nil, s))
		}
	})
}
