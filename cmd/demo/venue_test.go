package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"lockkeeper/bot/config"
)

func TestAForgeThatIsNotThereIsRefusedWithTheNamesOfAll(t *testing.T) {
	for _, name := range []string{"bitbucket", "", "GitHub "} {
		err := choose(name)
		if err == nil || !strings.Contains(err.Error(), "FORGE=github, FORGE=gitlab or FORGE=gitea") {
			t.Errorf("%q: got %v, want an error that names all three", name, err)
		}
	}
}

func choose(name string) error {
	_, err := venueOf(name)
	return err
}

func TestTheOperatorsFileIsRightForEveryForge(t *testing.T) {
	for _, v := range venues {
		text := fmt.Sprintf(operatorFile, v.forgeSection("http://127.0.0.1:3000", 7), "staging.yaml", "production.yaml", 42)
		server, err := config.ParseServer("server.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", v.kind, err)
			continue
		}
		if got := server.Repositories[0].ID; got != 42 {
			t.Errorf("%s: repository %d, want 42", v.kind, got)
		}
	}
}

func TestCommandsThatTheForgeTakesForItselfAreTypedLong(t *testing.T) {
	for _, c := range []struct{ kind, body, want string }{
		{"github", "/approve", "/approve"},
		{"gitea", "/unlock keep", "/unlock keep"},
		{"gitlab", "/approve", "/lockkeeper approve"},
		{"gitlab", "/unlock keep", "/lockkeeper unlock keep"},
		{"gitlab", "/apply", "/apply"},
	} {
		v, err := venueOf(c.kind)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.typed(c.body); got != c.want {
			t.Errorf("%s on %s: got %s, want %s", c.body, c.kind, got, c.want)
		}
	}
}

func TestCredentialsAreReadOutOfAuthorizationHeaders(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("bob:s3:cr3t"))
	for header, want := range map[string][2]string{
		basic:          {"bob", "s3:cr3t"},
		"Bearer abc":   {"", "abc"},
		"Basic %%%not": {"", "%%%not"},
	} {
		if user, secret := credential(header); [2]string{user, secret} != want {
			t.Errorf("%s: got %q and %q, want %q", header, user, secret, want)
		}
	}
}

func TestTheSeedHasWhatTheTourChanges(t *testing.T) {
	if _, err := os.Stat("../../testdata/shop"); err != nil {
		t.Fatal(err)
	}
	w := &world{root: "../.."}
	files := map[string]string{}
	if err := w.edited(files, "base/web.yaml", "web:1.4.0", "web:1.5.0"); err != nil {
		t.Error(err)
	}
	if err := w.edited(files, "base/web.yaml", "no such text", ""); err == nil {
		t.Error("a text that is not there was replaced")
	}
}
