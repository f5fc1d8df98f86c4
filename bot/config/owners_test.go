package config_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"lockkeeper/bot/config"
	"lockkeeper/bot/policy/owners"
)

func TestTheForgesPlacesAreLookedAtInTheirOrder(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tree := fstest.MapFS{
		"docs/CODEOWNERS": file("* @docs"), "CODEOWNERS": file("* @root"),
		".github/CODEOWNERS": file("* @github"), ".gitlab/CODEOWNERS": file("* @gitlab"),
	}
	owner := func(f *owners.File) string { return f.Of("x")[0].Owners[0] }
	for _, want := range []string{"@github", "@root", "@docs"} {
		f, err := config.ReadOwners(tree, owners.GitHub)
		if err != nil {
			t.Fatal(err)
		}
		if got := owner(f); got != want {
			t.Errorf("%s: %s, want %s", f.Path, got, want)
		}
		delete(tree, f.Path)
	}
	if _, err := config.ReadOwners(tree, owners.GitHub); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), ".github/CODEOWNERS") {
		t.Errorf("got %v", err)
	}
	if f, err := config.ReadOwners(tree, owners.GitLab); err != nil || owner(f) != "@gitlab" {
		t.Errorf("got %v", err)
	}
	tree["CODEOWNERS/x"] = file("")
	if _, err := config.ReadOwners(tree, owners.GitLab); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory was read as CODEOWNERS: %v", err)
	}
}

// What can be read of a broken file does not count either.
func TestABrokenFileHasNoOwners(t *testing.T) {
	tree := fstest.MapFS{"CODEOWNERS": {Data: []byte("* @root\n*.go nobody\n")}}
	f, err := config.ReadOwners(tree, owners.GitHub)
	if f != nil || err == nil || !strings.Contains(err.Error(), "CODEOWNERS:2: ") {
		t.Errorf("got %v, %v", f, err)
	}
}
