package command

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestCommandsAndTheirArguments(t *testing.T) {
	sha := strings.Repeat("a1", 20)
	for body, want := range map[string]Parsed{
		"/plan":                             {Name: Plan, Line: "/plan"},
		"/diff":                             {Name: Plan, Line: "/diff"},
		"/plan " + sha:                      {Name: Plan, Line: "/plan " + sha, SHA: sha},
		"/plan abcdef1":                     {Name: Plan, Line: "/plan abcdef1", SHA: "abcdef1"},
		"/apply":                            {Name: Apply, Line: "/apply"},
		"/apply staging":                    {Name: Apply, Line: "/apply staging", Targets: []string{"staging"}},
		"/apply a_b apps/shop-2.x a_b":      {Name: Apply, Line: "/apply a_b apps/shop-2.x a_b", Targets: []string{"a_b", "apps/shop-2.x"}},
		"/apply staging abc1234":            {Name: Apply, Line: "/apply staging abc1234", Targets: []string{"staging"}, SHA: "abc1234"},
		"/apply abc1234":                    {Name: Apply, Line: "/apply abc1234", SHA: "abc1234"},
		"/apply abc1234 def5678":            {Name: Apply, Line: "/apply abc1234 def5678", Targets: []string{"abc1234"}, SHA: "def5678"},
		"/apply abc123":                     {Name: Apply, Line: "/apply abc123", Targets: []string{"abc123"}},
		"/cancel":                           {Name: Cancel, Line: "/cancel"},
		"/approve":                          {Name: Approve, Line: "/approve"},
		"/approve 0123456789ab":             {Name: Approve, Line: "/approve 0123456789ab", SHA: "0123456789ab"},
		"/approve sha256:0123456789ab":      {Name: Approve, Line: "/approve sha256:0123456789ab", SHA: "0123456789ab"},
		"/unapprove":                        {Name: Unapprove, Line: "/unapprove"},
		"/hold":                             {Name: Hold, Line: "/hold"},
		"/hold  until *Monday*, see #7  ":   {Name: Hold, Line: "/hold  until *Monday*, see #7", Text: "until *Monday*, see #7"},
		"/hold https://example.com/a_b?c=d": {Name: Hold, Line: "/hold https://example.com/a_b?c=d", Text: "https://example.com/a_b?c=d"},
		"/unhold":                           {Name: Unhold, Line: "/unhold"},
		"/unlock restore":                   {Name: Unlock, Line: "/unlock restore", Choice: PutBack},
		"/unlock keep":                      {Name: Unlock, Line: "/unlock keep", Choice: Keep},
		"/sync prod/eu":                     {Name: Sync, Line: "/sync prod/eu", Targets: []string{"prod/eu"}},
		"/restore":                          {Name: Restore, Line: "/restore"},
		"/rollback":                         {Name: Rollback, Line: "/rollback"},
		"/rollback to #41":                  {Name: Rollback, Line: "/rollback to #41", Pull: 41},
		"/rollback to !41":                  {Name: Rollback, Line: "/rollback to !41", Pull: 41}, // GitLab
		"/rollback to abc1234":              {Name: Rollback, Line: "/rollback to abc1234", SHA: "abc1234"},
		"/status":                           {Name: Status, Line: "/status"},
		"/explain":                          {Name: Explain, Line: "/explain"},
		"/help":                             {Name: Help, Line: "/help"},
		"   /apply \t staging\t":            {Name: Apply, Line: "/apply \t staging", Targets: []string{"staging"}},
	} {
		if got := Parse(body); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("Parse(%q) = %+v\nwant %+v", body, got, want)
		}
	}
}

// Threat 21: stray flags; unknown arguments are refused.
func TestArgumentsThatAreNotUnderstoodAreRefused(t *testing.T) {
	for body, want := range map[string][]string{
		"/restore staging":        {"argument `staging`", "usage: `/restore`"},
		"/rollback #41":           {"argument `#41`", "usage: `/rollback [to SHA|#PULL]`"},
		"/rollback to":            {"say what to go back to"},
		"/rollback to main":       {"argument `main`"},
		"/rollback to #0":         {"argument `#0`"},
		"/rollback to #41 now":    {"argument `now`"},
		"/rollback to abc123":     {"argument `abc123`"},
		"/rollback --hard":        {"flag `--hard`"},
		"/plan staging":           {"argument `staging`", "usage: `/plan [sha]`"},
		"/plan ABCDEF1":           {"argument `ABCDEF1`"},
		"/plan abcdef1 --force":   {"flag `--force`"},
		"/plan " + hex(41):        {"argument"},
		"/apply --force":          {"flag `--force`", "usage: `/apply [target...] [sha]`"},
		"/apply -- staging":       {"flag `--`"},
		"/apply staging;rm":       {"argument `staging;rm`"},
		"/apply a,b":              {"argument `a,b`"},
		"/apply $(id)":            {"argument `$(id)`"},
		"/apply @team":            {"argument `@team`"},
		"/approve latest":         {"argument `latest`"},
		"/approve " + hex(65):     {"argument"},
		"/unapprove please":       {"argument `please`", "usage: `/unapprove`"},
		"/unlock":                 {"`restore` or `keep`", "usage: `/unlock restore|keep`"},
		"/unlock now":             {"argument `now`"},
		"/unlock keep it":         {"argument `it`"},
		"/unlock Keep":            {"argument `Keep`"},
		"/sync":                   {"name of a target is missing", "usage: `/sync TARGET`"},
		"/sync a b":               {"argument `b`"},
		"/sync -a":                {"flag `-a`"},
		"/status now":             {"argument `now`"},
		"/help me":                {"argument `me`"},
		"/cancel staging":         {"argument `staging`", "usage: `/cancel`"},
		"/cancel --now":           {"flag `--now`"},
		"/hold " + hex(maxText+1): {"longer than 500"},
		"/apply " + strings.Repeat("x ", maxLine): {"longer than 2000"},
		"/apply " + strings.Repeat("x", 201):      {"argument `xxx", "...`"},
	} {
		got := Parse(body)
		if len(got) != 1 || got[0].Err == nil {
			t.Errorf("Parse(%q) = %+v, want a refusal", body, got)
			continue
		}
		for _, words := range want {
			if !strings.Contains(got[0].Err.Error(), words) {
				t.Errorf("Parse(%q): %v; want it to say %q", body, got[0].Err, words)
			}
		}
	}
}

func hex(n int) string { return strings.Repeat("a", n) }

// Threats 9 and 21: only a whole plain line of a top-level paragraph counts.
func TestWhatIsNoCommandIsIgnored(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                         "",
		"prose":                         "please run /apply soon",
		"trailing in line":              "done: /apply",
		"fence":                         "```\n/apply\n```",
		"tilde fence":                   "~~~ sh\n/apply\n~~~",
		"fence that never ends":         "```\n\n/apply\n",
		"indented code":                 "    /apply",
		"tab-indented code":             "\t/apply",
		"indented continuation":         "see\n    /apply",
		"code span":                     "`/apply`",
		"code span over lines":          "a `\n/apply\n` b",
		"quote":                         "> /apply",
		"nested quote":                  "> > /apply",
		"quoted fence":                  "> ```\n> /apply\n> ```",
		"GitLab's long quote":           ">>>\n/apply\n>>>",
		"long quote with empty lines":   "x\n>>>\ny\n\n/apply\n\n>>>  \nz",
		"long quote without an end":     ">>>\n/apply",
		"long quotes in each other":     ">>>>\n>>>\nx\n>>>\n/apply\n>>>>",
		"second long quote":             ">>>\nx\n>>>\n>>>\n/apply\n>>>",
		"long quote after code":         "```\n>>>\n```\n>>>\n/apply\n>>>",
		"list":                          "- /apply",
		"ordered list":                  "1. /apply",
		"task list":                     "- [ ] /apply",
		"list code":                     "- x\n\n      /apply",
		"heading":                       "# /apply",
		"underlined heading":            "/apply\n===",
		"dashed heading":                "/apply\n---",
		"table":                         "| a |\n|---|\n| /apply |",
		"table without bars":            "a | b\n---|---\n/apply | x",
		"HTML comment":                  "<!--\n/apply\n-->",
		"HTML comment with empty lines": "<!--\n\n/apply\n\n-->",
		"HTML comment that never ends":  "<!-- x\n\n/apply",
		"inline HTML comment":           "foo <!--\n/apply\n--> bar",
		"HTML block":                    "<div>\n/apply\n</div>",
		"HTML block with empty lines":   "<div>\n\n/apply\n\n</div>",
		"folded":                        "<details><summary>log</summary>\n\n/apply\n\n</details>",
		"folded, hidden end":            "<details><a title=\"</details>\">\n\n/apply\n\n</a></details>",
		"folded, end in a comment":      "<details><!-- </details> -->\n\n/apply\n\n</details>",
		"folded by an inline tag":       "x <details\nopen>\n/apply\n</details>",
		"HTML quote":                    "<blockquote>\n\n/apply\n\n</blockquote>",
		"pre":                           "<pre>\n/apply\n</pre>",
		"inline pre":                    "x <code>\n/apply\n</code>",
		"attribute":                     "x <a title=\"\n/apply\n\">y</a>",
		"script":                        "<script>\n\n/apply\n\n</script>",
		"CDATA":                         "<![CDATA[\n/apply\n]]>",
		"processing instruction":        "<?php\n\n/apply\n?>",
		"link text":                     "[x\n/apply\ny](http://example.com)",
		"link title":                    "[x](http://example.com '\n/apply\n')",
		"image text":                    "![x\n/apply\ny](http://example.com)",
		"link definition":               "[x]:\n/apply\n\nsee [x]",
		"link definition's title":       "[x]: /y '\n/apply\n'\n\nsee [x]",
		"emphasis":                      "*a\n/apply\nb*",
		"strong":                        "**a\n/apply\nb**",
		"struck out":                    "~~a\n/apply\nb~~",
		"emphasised":                    "*/apply*",
		"link":                          "[/apply](http://example.com)",
		"footnote":                      "x[^1]\n\n[^1]: y\n\n    /apply",
		"escaped":                       "\\/apply",
		"entity":                        "&#47;apply",
		"break tag":                     "x<br>/apply",
		"zero-width joined prose":       "x\u200b/apply",
		"other bots":                    "/cc @ann\n/lgtm\n/assign @bob\n/test all\n/retest\n/close\n/merge\n/kind bug\n/label x",
		"paths":                         "/etc/passwd\n/apply/all\n/plan/\n//apply\n/",
		"near word":                     "/applying\n/planet\n/helpless",
		"sentences about us":            "lockkeeper plan failed again\nlockkeeper is great\n@lockkeeper thanks",
		"mention in prose":              "ask @lockkeeper apply",
	} {
		if got := Parse(body); len(got) != 0 {
			t.Errorf("%s: Parse(%q) = %+v, want nothing", name, body, got)
		}
	}
}

func TestWhereACommandCounts(t *testing.T) {
	for name, body := range map[string]string{
		"alone":                    "/apply",
		"with spaces around":       "\n\n   /apply   \n",
		"after a line":             "thanks\n/apply",
		"before a line":            "/apply\nthanks",
		"after a hard break":       "thanks  \n/apply",
		"after a backslash break":  "thanks\\\n/apply",
		"after a break tag":        "thanks<br>\n/apply",
		"after code":               "```\nx\n```\n/apply",
		"after a quote":            "> x\n\n/apply",
		"after a list":             "- x\n\n/apply",
		"after a long quote":       ">>>\nx\n>>>\n/apply",
		"after a prompt in code":   "```\n>>>\n```\n/apply",
		"after a comment":          "<!-- x -->\n\n/apply",
		"after inline comment":     "x <!-- y -->\n/apply",
		"after details":            "<details>\n\nx\n\n</details>\n\n/apply",
		"after a placeholder":      "deploy to <cluster>\n/apply",
		"between markup":           "*a*\n/apply\n`b`",
		"CRLF":                     "thanks\r\n/apply\r\n\r\nbye",
		"CR":                       "thanks\r/apply\rbye",
		"after a heading":          "# x\n/apply",
		"lonely markers":           "2 * 3 [x _y\n/apply\n<z",
		"after an unfinished link": "[x](\n/apply",
	} {
		got := Parse(body)
		if len(got) != 1 || got[0].Name != Apply || got[0].Err != nil || got[0].Line != "/apply" {
			t.Errorf("%s: Parse(%q) = %+v, want /apply", name, body, got)
		}
	}
}

// Where a forge, or another bot, takes the short word for itself.
func TestEveryCommandHasALongSpelling(t *testing.T) {
	for _, spec := range Table() {
		short := Parse(spec.Example)
		long := Parse("/lockkeeper " + strings.TrimPrefix(spec.Example, "/"))
		if len(short) != 1 || len(long) != 1 || long[0].Err != nil {
			t.Fatalf("%s: %+v, %+v", spec.Example, short, long)
		}
		long[0].Line = short[0].Line
		if !reflect.DeepEqual(short, long) {
			t.Errorf("%s: %+v, and in the long spelling %+v", spec.Example, short[0], long[0])
		}
	}
}

func TestReservedWordsAreSpelledLong(t *testing.T) {
	reserved := []string{"approve", "unlock"}
	for line, want := range map[string]string{
		"/approve 1a2b3c4": "/lockkeeper approve 1a2b3c4", "/unlock": "/lockkeeper unlock", "/apply": "/apply", "approve": "approve", "": "",
	} {
		if got := Spell(line, reserved); got != want {
			t.Errorf("%q is spelled %q, want %q", line, got, want)
		}
	}
	for body, want := range map[string]string{
		"/aprove":            "did you mean `/lockkeeper approve`?",
		"/aply":              "did you mean `/apply`?",
		"@lockkeeper unlock": "did you mean `/lockkeeper unlock`?",
		"/unlock":            "usage: `/lockkeeper unlock restore|keep`",
	} {
		if got := Parse(body, reserved...); len(got) != 1 || got[0].Err == nil || !strings.Contains(got[0].Err.Error(), want) {
			t.Errorf("%q: %+v, want %s", body, got, want)
		}
	}
	if help := Markdown(reserved...); !strings.Contains(help, "`/lockkeeper approve [digest]`") || !strings.Contains(help, "`/apply [target...] [sha]`") {
		t.Errorf("help: %s", help)
	}
}

// Threat 21: characters that look like a command and are not one.
func TestNearMissesAreExplained(t *testing.T) {
	for body, want := range map[string][2]string{
		"/aply":                           {"/apply", "no command `/aply`; did you mean `/apply`?"},
		"/Apply":                          {"/apply", "no command `/Apply`"},
		"/APPLY staging":                  {"/apply", "no command `/APPLY`"},
		"/apply.":                         {"/apply", "no command `/apply.`"},
		"/approved":                       {"/approve", ""},
		"/paln":                           {"/plan", ""},
		"/cancle":                         {"/cancel", ""},
		"/Cancel":                         {"/cancel", "no command `/Cancel`"},
		"/unaprove":                       {"/unapprove", ""},
		"/ apply":                         {"/apply", "no command `/ apply`"},
		"/Diff":                           {"/plan", ""},
		"/apply\u00a0staging":             {"/apply", "an unusual space, U+00A0"},
		"\u00a0/apply":                    {"/apply", "U+00A0"},
		"/apply staging\u00a0":            {"/apply", "U+00A0"},
		"/app\u200bly":                    {"/apply", "an invisible character, U+200B"},
		"\u200b/apply":                    {"/apply", "U+200B"},
		"\ufeff/apply":                    {"/apply", "U+FEFF"},
		"/аpply":                          {"/apply", "the letter U+0430"},
		"/арpΙy":                          {"/apply", "U+0430"},
		"／ａｐｐｌｙ":                          {"/apply", "U+FF0F"},
		"∕apply":                          {"/apply", "U+2215"},
		"\u202e/apply":                    {"/apply", "a control for right-to-left text, U+202E"},
		"/apply stag\u202eing":            {"/apply", "U+202E"},
		"/apply straße":                   {"/apply", "the letter U+00DF"},
		"/hold für später":                {"/hold", "the letter U+00FC"},
		"/apply \x01":                     {"/apply", "an invisible character, U+0001"},
		"/apply\xff":                      {"/apply", "U+FFFD"},
		"/apply 🚀":                        {"/apply", "U+1F680"},
		"/apply `staging`":                {"/apply", "plain text"},
		"/apply *staging*":                {"/apply", "plain text"},
		"/apply <!-- x -->":               {"/apply", "plain text"},
		"> quote\n/apply":                 {"/apply", "belongs to the quote above"},
		"> - quote\n/apply":               {"/apply", "belongs to the quote above"},
		"- item\n/apply":                  {"/apply", "belongs to the list above"},
		"- item\n\n  /apply":              {"/apply", "belongs to the list above"},
		"@lockkeeper apply":               {"/apply", "start with a slash; did you mean `/apply`?"},
		"@lockkeeper-acme[bot]: /Apply x": {"/apply", "start with a slash"},
		"lockkeeper apply":                {"/apply", "start with a slash"},
		"Lockkeeper, help!":               {"/help", "start with a slash"},
		"/lockkeeper aprove":              {"/lockkeeper approve", "no command `/lockkeeper aprove`; did you mean `/lockkeeper approve`?"},
		"/lockkeeper /approve":            {"/lockkeeper approve", "did you mean `/lockkeeper approve`?"},
		"/lockkeeper":                     {"/help", "no command `/lockkeeper`; `/help` lists them"},
		"/lockkeeper frobnicate":          {"/help", "no command `/lockkeeper frobnicate`"},
		"/lockkeeper аpprove":             {"/lockkeeper approve", "U+0430"},
		"> quote\n/lockkeeper apply":      {"/apply", "belongs to the quote above"},
	} {
		got := Parse(body)
		if len(got) != 1 || got[0].Name != "" || got[0].Err == nil || got[0].Suggestion != want[0] || !strings.Contains(got[0].Err.Error(), want[1]) {
			t.Errorf("Parse(%q) = %+v\nwant suggestion %s because %s", body, got, want[0], want[1])
		}
	}
}

func TestSeveralCommandsKeepTheirOrder(t *testing.T) {
	got := Parse("/unhold\nthen\n/aply\n\n/apply staging\n/cc x\n/status")
	var names []string
	for _, p := range got {
		names = append(names, string(p.Name)+p.Suggestion)
	}
	if want := "unhold /apply apply status"; strings.Join(names, " ") != want {
		t.Errorf("got %v, want %s", names, want)
	}
}

func TestTooManyCommandsAreRefused(t *testing.T) {
	got := Parse(strings.Repeat("/status\n", 15))
	if len(got) != 11 || got[9].Err != nil || got[10].Err == nil || got[10].Name != "" {
		t.Errorf("%d results, the last %+v; want 10 and an error", len(got), got[len(got)-1])
	}
}

// What a reply quotes must not mention anybody or leave its code span (threat 9).
func TestErrorsQuoteSafely(t *testing.T) {
	for _, body := range []string{"/plan @everyone", "/plan a&<b>", "/plan ]](", "/plan x\x60y"} {
		for _, p := range Parse(body) {
			if p.Err == nil {
				t.Errorf("%q accepted", body)
				continue
			}
			outside := ""
			for i, part := range strings.Split(p.Err.Error(), "`") {
				if i%2 == 0 {
					outside += part
				}
			}
			if strings.ContainsAny(outside, "@<]&") || strings.Count(p.Err.Error(), "`")%2 != 0 {
				t.Errorf("%q is answered %q", body, p.Err)
			}
		}
	}
}

// A comment of any size and shape must not stall the bot. The bound is far
// above what any of these takes, and far below the minutes it guards against.
func TestHostileShapesAreReadQuickly(t *testing.T) {
	for _, piece := range []string{"a", "[", "![", "`", "*a ", "_*", "<", "<a ", "<!--", ">", "> ", "- ", "* ", "|", "\n|-|\n", "/apply\n", "\\", "[a](", "[^1]", "~~a", "&", "<details>", "1. ", "[x]: y\n", "\u202e", "\t", "(", "](", "> - ", "a\n> "} {
		limit := maxBody
		if piece == "[a](" || piece == "](" {
			limit = maxLinks // more are not read at all
		}
		body := strings.Repeat(piece, min((maxBody-10)/len(piece), limit)) + "\n\n/apply"
		start := time.Now()
		Parse(body)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%q repeated takes %v", piece, took)
		}
	}
}

func TestCommandsInOversizedCommentsAreRefusedWithTheReason(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"65,537 characters": {strings.Repeat("x", 65_530) + "\n/apply", "65537 bytes"},
		"deep quotes":       {strings.Repeat("> ", 101) + "x\n\n/apply", "more than 100 deep"},
		"many links":        {strings.Repeat("[a](", 501) + "\n\n/apply", "more than 500 links"},
		"deep lists":        {strings.Repeat("- ", 101) + "x\n\n/apply", "more than 100 deep"},
	} {
		if got := Parse(c.body); len(got) != 1 || got[0].Name != "" || got[0].Line != "/apply" || got[0].Err == nil || !strings.Contains(got[0].Err.Error(), c.want) {
			t.Errorf("%s: %+v", name, got)
		}
		if got := Parse(strings.ReplaceAll(c.body, "/apply", "thanks")); got != nil {
			t.Errorf("%s without a command: %+v", name, got)
		}
	}
	if got := Parse(strings.Repeat("-", 500) + "\n\n/apply"); len(got) != 1 || got[0].Name != Apply {
		t.Errorf("below a long rule: %+v", got)
	}
}

func TestTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Table() {
		for _, word := range append([]string{string(s.Name)}, s.Aliases...) {
			if seen[word] || word != strings.ToLower(word) {
				t.Errorf("%s stands twice or is not lower-case", word)
			}
			seen[word] = true
			if got, ok := Lookup(word); !ok || got.Name != s.Name {
				t.Errorf("Lookup(%s) = %v, %v", word, got.Name, ok)
			}
		}
		if s.Summary == "" || s.Who == "" || s.read == nil {
			t.Errorf("%s is incomplete", s.Name)
		}
		if got := Parse(s.Example); len(got) != 1 || got[0].Name != s.Name || got[0].Err != nil {
			t.Errorf("the example %q is read as %+v", s.Example, got)
		}
		if !strings.Contains(Markdown(), "`"+strings.ReplaceAll(s.Usage(), "|", `\|`)+"`") {
			t.Errorf("%s is missing in the Markdown", s.Usage())
		}
	}
	if _, ok := Lookup("cc"); ok {
		t.Error("Lookup knows /cc")
	}
	for line := range strings.Lines(Markdown()) {
		if n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); n != 5 {
			t.Errorf("%d bars in %s", n, line)
		}
	}
	if got := Parse(Markdown()); len(got) != 0 {
		t.Errorf("our own help holds live commands: %+v", got) // threat 22
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"/apply staging abc1234", "thanks\r\n/apply", "> x\n/apply", "- a\n  /plan", "<details>\n\n/apply", "```\n/apply\n```", "/аpply", "[x]:\n/apply",
		"a `\n/apply\n`", "/hold *x*\n<!--\n/apply", "| a |\n|-|\n/apply", "[^1]: x\n/apply\n\n[^1]", "@lockkeeper apply", "/apply\n===", "*a\n/apply\nb*",
		"/rollback to #41", "/rollback to abc1234", "/restore\n/rollback",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got := Parse(body)
		for _, p := range got {
			if p.Err == nil && (p.Name == "" || p.Suggestion != "") || p.Line == "" {
				t.Errorf("inconsistent: %+v", p)
			}
			if p.Err == nil && !strings.Contains(body, p.Line) {
				t.Errorf("%q is not in the comment", p.Line)
			}
		}
		lf := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(body)
		if crlf := Parse(strings.ReplaceAll(lf, "\n", "\r\n")); len(lf) <= maxBody && fmt.Sprint(crlf) != fmt.Sprint(got) {
			t.Errorf("line endings change the meaning:\n%v\n%v", crlf, got)
		}
		lines := strings.Split(lf, "\n")
		fence := strings.Repeat("`", strings.Count(lf, "`")+3)
		for name, inert := range map[string]string{
			"quoted":   "> " + strings.Join(lines, "\n> "),
			"indented": "    " + strings.Join(lines, "\n    "),
			"fenced":   fence + "\n" + lf + "\n" + fence,
		} {
			if len(inert) > maxBody || intricate(inert) {
				continue
			}
			if got := Parse(inert); len(got) != 0 {
				t.Errorf("%s, it yields %+v", name, got)
			}
		}
	})
}
