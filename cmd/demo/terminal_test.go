package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

const commentMarkdown = "<!-- lockkeeper:pull/1/2 part=1 -->\n" +
	"### 🔒 2 changes on `staging`, not yet allowed\n\n" +
	"| target | create | status |\n|:--|--:|:--|\n| `staging` | 12 | 🔒 needs 1 more |\n| `x` | · | ✅ ready |\n\n" +
	"> [!WARNING]\n> - **deletes** `Service shop/web` on `staging`\n\n" +
	"<details open><summary><b>staging</b>: 1 to update &amp; more</summary>\n\n" +
	"```diff\n@@ update Deployment.apps shop/web @@\n- spec.replicas: 3\n+ spec.replicas: 5\n```\n\n</details>\n\n" +
	"**What is missing**\n\n- ❌ staging: 1 approval from acme/platform\\_team, not @\u200beve\n  - and another\n\n" +
	"**Next:** `/approve`\n\n<sub>digest `abc` · [report](http://127.0.0.1/x)</sub>\n"

func TestCommentReadsWellInATerminal(t *testing.T) {
	want := `🔒 2 changes on staging, not yet allowed

target   create  status
staging      12  🔒 needs 1 more
x             ·  ✅ ready

▌ ⚠️
▌ • deletes Service shop/web on staging

▾ staging: 1 to update & more
  @@ update Deployment.apps shop/web @@
  - spec.replicas: 3
  + spec.replicas: 5

What is missing

• ❌ staging: 1 approval from acme/platform_team, not @eve
  • and another

Next: /approve

digest abc · report (http://127.0.0.1/x)`
	got := strings.Join(terminal{}.markdown(commentMarkdown), "\n")
	if got != want {
		t.Errorf("got:\n%s\n\nwant:\n%s", got, want)
	}
}

func TestColourChangesNothingButColour(t *testing.T) {
	plain := strings.Join(terminal{}.markdown(commentMarkdown), "\n")
	coloured := strings.Join(terminal{colour: true}.markdown(commentMarkdown), "\n")
	if got := escapes.ReplaceAllString(coloured, ""); got != plain {
		t.Errorf("without its colours it reads:\n%s\n\nwant:\n%s", got, plain)
	}
	for _, want := range []string{"\x1b[31m- spec.replicas: 3\x1b[0m", "\x1b[32m+ spec.replicas: 5\x1b[0m", "\x1b[36m@@ "} {
		if !strings.Contains(coloured, want) {
			t.Errorf("%q is not in %q", want, coloured)
		}
	}
}

func TestAConditionThatFailsEndsTheWait(t *testing.T) {
	broken := errors.New("broken")
	if err := eventually(t.Context(), "x", func(context.Context) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want the condition's own error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	err := eventually(ctx, "the sun", func(context.Context) (bool, error) {
		if tries++; tries == 3 {
			cancel()
		}
		return false, nil
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "waiting for the sun") || tries != 3 {
		t.Errorf("got %v after %d tries, want a cancelled wait that says for what, after 3", err, tries)
	}
}

// The tour changes the seed repository by replacing texts; they have to be
// there, or the tour would change nothing.
func TestSeedThatLacksATextToReplaceIsRefused(t *testing.T) {
	w := &world{root: "../.."}
	files := map[string]string{}
	if err := w.edited(files, "base/web.yaml", "web:1.4.0", "web:1.5.0"); err != nil || !strings.Contains(files["base/web.yaml"], "web:1.5.0") {
		t.Errorf("edit: %v", err)
	}
	if err := w.edited(files, "base/web.yaml", "web:1.4.0", "web:1.6.0"); err == nil {
		t.Error("a text that is not there was replaced")
	}
}

func TestProgressIsReadOffARunningReport(t *testing.T) {
	running := "**Apply** by `ann`: running\n\n<details><summary>staging: 1 of 2 done</summary>\n\n</details>\n<details><summary><b>staging</b>: 2 to update</summary>\n</details>"
	if got := progress(running); got != "staging: 1 of 2 done" {
		t.Errorf("got %q", got)
	}
	if got := progress(strings.Replace(running, "running", "succeeded", 1)); got != "" {
		t.Errorf("a report of an operation that ended shows progress %q", got)
	}
}
