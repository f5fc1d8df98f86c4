package owners_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hmarr/codeowners"

	"lockkeeper/bot/policy/owners"
)

func parse(t *testing.T, d owners.Dialect, text string) *owners.File {
	t.Helper()
	f, err := owners.Parse("CODEOWNERS", []byte(text), d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// owned is who owns a path: "@a @b" on GitHub, "Docs/2: @a; ?Data: @b" with
// sections.
func owned(f *owners.File, path string) string {
	var out []string
	for _, s := range f.Of(path) {
		head := s.Section
		if s.Optional {
			head = "?" + head
		}
		if s.Required > 0 {
			head += fmt.Sprintf("/%d", s.Required)
		}
		if head != "" {
			head += ": "
		}
		out = append(out, head+strings.Join(s.Owners, " "))
	}
	return strings.Join(out, "; ")
}

// The file and what it means are those of GitHub's documentation.
func TestGitHubsOwnExample(t *testing.T) {
	f := parse(t, owners.GitHub, `# This is a comment.
*       @global-owner1 @global-owner2
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
*.txt @octo-org/octocats
/build/logs/ @doctocat
docs/*  docs@example.com
apps/ @octocat
/docs/ @doctocat
/scripts/ @doctocat @octocat
**/logs @logs-owner
/apps/ @octocat
/apps/github
`)
	for path, want := range map[string]string{
		"README.md": "@global-owner1 @global-owner2", "a/b/x.js": "@js-owner", "main.go": "docs@example.com",
		"a.txt": "@octo-org/octocats", "x/build/logs.md": "@global-owner1 @global-owner2",
		"docs/a.md": "@doctocat", "x/docs/a.md": "@global-owner1 @global-owner2", "x/apps/y/z": "@octocat",
		"scripts/x": "@doctocat @octocat", "build/logs/x": "@logs-owner", "deeply/nested/logs/x/y": "@logs-owner",
		"apps/x": "@octocat", "apps/github": "", "apps/github/x": "", "apps/githubx": "@octocat",
	} {
		if got := owned(f, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestGitHubPatterns(t *testing.T) {
	for _, tt := range []struct{ pattern, yes, no string }{
		{"*", "a a/b .x", ""},
		{"/*", "a", "a/b"},
		{"/**", "a a/b", ""},
		{"**", "a a/b", ""},
		{"**/", "a/b a/b/c", "a"},
		{"docs/*", "docs/a", "docs/a/b x/docs/a"},
		{"docs/**", "docs/a docs/a/b", "docs x/docs/a"},
		{"docs", "docs docs/a x/docs x/docs/y", "docsx xdocs"},
		{"docs/", "docs/a x/docs/y", "docs x/docs"},
		{"/docs", "docs docs/a", "x/docs"},
		{"a/b", "a/b a/b/c", "x/a/b"},
		{"a/**/b", "a/b a/x/b a/x/y/b a/x/b/c", "ab a/xb"},
		{"**/a/b", "a/b x/a/b x/y/a/b/c", "xa/b"},
		{"*.js", "a.js x/a.js .js x.js/y", "a.jsx"},
		{"/a*c/d?", "abc/dx ac/dx", "a/c/dx abc/d abc/dxy"},
		{"a**b", "ab axb", "a/b"},
		{`with\ space/`, "with space/a", "with/a"},
		{`/deploy/größe.yaml`, "deploy/größe.yaml", "deploy/grosse.yaml"},
		{"/a.b", "a.b", "axb"},
		{"/a,b~c=d/", "a,b~c=d/x", ""},
		{"/App", "App", "app"},
		{"a/*/", "a/b/c", "a/b"},
	} {
		f := parse(t, owners.GitHub, tt.pattern+" @x")
		check(t, f, tt.pattern, tt.yes, tt.no)
	}
}

func check(t *testing.T, f *owners.File, pattern, yes, no string) {
	t.Helper()
	split := func(s string) []string {
		if strings.Contains(pattern, `\ `) {
			return []string{s}
		}
		return strings.Fields(s)
	}
	for _, path := range split(yes) {
		if len(f.Of(path)) == 0 {
			t.Errorf("%s does not match %s", pattern, path)
		}
	}
	for _, path := range split(no) {
		if len(f.Of(path)) != 0 {
			t.Errorf("%s matches %s", pattern, path)
		}
	}
}

// Another reader of GitHub's patterns agrees, over all short patterns.
func TestGitHubPatternsAgreeWithAnotherReader(t *testing.T) {
	pieces := []string{"a", "b", "*", "**", "a*", "?", "*b"}
	var patterns []string
	for _, x := range pieces {
		patterns = append(patterns, x)
		for _, y := range pieces {
			patterns = append(patterns, x+"/"+y)
			for _, z := range pieces {
				patterns = append(patterns, x+"/"+y+"/"+z)
			}
		}
	}
	var paths []string
	names := []string{"a", "b", "ab", "c"}
	for _, x := range names {
		paths = append(paths, x)
		for _, y := range names {
			paths = append(paths, x+"/"+y, x+"/"+y+"/a", x+"/"+y+"/b/c")
		}
	}
	compared := 0
	for _, p := range patterns {
		for _, text := range []string{p, "/" + p, p + "/"} {
			other, err := codeowners.ParseFile(strings.NewReader(text + " @x"))
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			f := parse(t, owners.GitHub, text+" @x")
			for _, path := range paths {
				theirs, err := other[0].Match(path)
				if err != nil {
					t.Fatal(err)
				}
				if ours := len(f.Of(path)) > 0; ours != theirs && !known(text, path) {
					t.Errorf("%s on %s: %v, they say %v", text, path, ours, theirs)
				}
				compared++
			}
		}
	}
	t.Log(compared, "comparisons")
}

// known are the differences: the other reader lets `**/` match nothing, where
// git lets it match what is in a directory, and it reads two `**` in a row
// differently from one.
func known(text, path string) bool {
	return strings.Trim(text, "*/") == "" && strings.HasSuffix(text, "*/") && strings.Contains(path, "/") ||
		strings.Contains(text, "**/**")
}

func TestGitLabSections(t *testing.T) {
	f := parse(t, owners.GitLab, `# Lines without a section come first.
* @general

[Documentation] @docs-team
docs/
README.md @writers
docs/api/ @api @docs-team

^[Database][3] @dba
model/db/

[Security][2] @@maintainer sec@example.com
config/
!config/examples/

[DOCUMENTATION][2]
*.md @md
`)
	for path, want := range map[string]string{
		"main.go":         "@general",
		"docs/x":          "@general; Documentation/2: @docs-team",
		"docs/api/x":      "@general; Documentation/2: @api @docs-team",
		"README.md":       "@general; Documentation/2: @md",
		"model/db/x.go":   "@general; ?Database: @dba",
		"config/a":        "@general; Security/2: @@maintainer sec@example.com",
		"config/a.md":     "@general; Documentation/2: @md; Security/2: @@maintainer sec@example.com",
		"config/examples": "@general; Security/2: @@maintainer sec@example.com",

		"config/examples/a": "@general",
	} {
		if got := owned(f, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// A section that comes again is as strict as its strictest heading.
func TestASectionIsOptionalOnlyIfAllItsHeadingsSaySo(t *testing.T) {
	for text, want := range map[string]string{
		"^[A]\na @x\n^[a]\nb @y\n":       "?A: @x",
		"^[A]\na @x\n[A]\nb @y\n":        "A: @x",
		"[A]\na @x\n^[A]\nb @y\n":        "A: @x",
		"[A][3]\na @x\n[A][2]\nb @y\n":   "A/3: @x",
		"^[A][3] @x\na\n^[A] @z\nb @y\n": "?A: @x",
	} {
		if got := owned(parse(t, owners.GitLab, text), "a"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestAnExclusionIsNotTakenBack(t *testing.T) {
	f := parse(t, owners.GitLab, "* @all\n!a/\na/b @b\n[Other]\na/b @c\n")
	for path, want := range map[string]string{"a/b": "Other: @c", "a/x": "", "x": "@all"} {
		if got := owned(f, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestGitLabPatterns(t *testing.T) {
	for _, tt := range []struct{ pattern, yes, no string }{
		{"*", "a a/b .x/.y", ""},
		{"/*", "a", "a/b"},
		{"docs", "docs x/docs", "docs/a"},
		{"docs/", "docs/a docs/a/b x/docs/a", "docs"},
		{"/docs/", "docs/a docs/a/b", "x/docs/a"},
		{"/docs/*", "docs/a", "docs/a/b"},
		{"/docs/**", "docs/a", "docs/a/b"}, // fnmatch: only `**/` goes deeper
		{"/docs/**/*.md", "docs/a.md docs/x/y/a.md", "docs/a.txt"},
		{"a/b", "a/b x/a/b", "a/b/c"},
		{"/x[a-c]", "xa xc", "xd x[a-c]"},
		{"/x[!a-c]", "xd", "xa"},
		{"/x[^a]", "xb", "xa"},
		{`\#x`, "#x a/#x", "x"},
		{`/a\*`, "a*", "ab"},
		{`path\ with\ spaces/`, "path with spaces/x", "path/x"},
		{"*.rb", "a.rb x/.rb", "a.rbx a.rb/x"},
	} {
		check(t, parse(t, owners.GitLab, tt.pattern+" @x"), tt.pattern, tt.yes, tt.no)
	}
}

// The file is that of Gitea's documentation. Every line that matches asks.
func TestGiteasOwnExample(t *testing.T) {
	f := parse(t, owners.Gitea, `.*\\.go @user1 @user2 # This is comment

# Comment too
frontend/src/.*\\.js @org1/team1 @org1/team2 user3
!frontend/src/.* @org1/team3 @user5
docs/(aws|google|azure)/[^/]*\\.(md|txt) @user8 @org1/team4
!/assets/.*\\.(bin|exe|msi) @user9
dir/with\#hashtag @user1
path\ with\ space @user2
`)
	for path, want := range map[string]string{
		"a/b.go":              "@user1 @user2; @org1/team3 @user5; @user9",
		"a/bxgo":              "@org1/team3 @user5; @user9",
		"frontend/src/x.js":   "@org1/team1 @org1/team2 @user3; @user9",
		"x/frontend/src/x.js": "@org1/team3 @user5; @user9", // expressions begin at the root
		"docs/aws/a.md":       "@org1/team3 @user5; @user8 @org1/team4; @user9",
		"docs/aws/a/b.md":     "@org1/team3 @user5; @user9",
		"assets/x.bin":        "@org1/team3 @user5",
		"dir/with#hashtag":    "@org1/team3 @user5; @user9; @user1",
		"path with space":     "@org1/team3 @user5; @user9; @user2",
	} {
		if got := owned(f, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// What a forge would skip, leaving files without an owner, is an error here.
func TestWhatCannotBeReadIsAnErrorWithItsLine(t *testing.T) {
	long := strings.Repeat("a", 1025)
	tests := []struct {
		dialect    owners.Dialect
		text, want string
	}{
		{owners.GitHub, "* @a\n*.go bob\n", `CODEOWNERS:2: got "bob", want an owner`},
		{owners.GitHub, "*.go @a/b/c", "want an owner"},
		{owners.GitHub, "*.go @-x", "want an owner"},
		{owners.GitHub, "*.go @a@example.com", "want an owner"},
		{owners.GitHub, "!a @x", "CODEOWNERS:1: got a pattern with `!`"},
		{owners.GitHub, "[Docs]\na @x", "CODEOWNERS:1: got the pattern \"[Docs]\"; GitHub supports neither brackets"},
		{owners.GitHub, `\#a @x`, "nor `#`"},
		{owners.GitHub, "a#b @x", "nor `#`"},
		{owners.GitHub, "/ @x", "matches no file"},
		{owners.GitHub, "a//b @x", "two slashes"},
		{owners.GitHub, "a*** @x", "more than two asterisks"},
		{owners.GitHub, `a\`, `ends in a \`},
		{owners.GitHub, long + " @x", "1025 bytes"},
		{owners.GitHub, "a" + strings.Repeat(" @x", 101), "101 owners"},
		{owners.GitHub, "a\xff @x", "is not text in UTF-8"},
		{owners.GitHub, strings.Repeat("a\n", 10_001), "more than the 10000 entries"},
		{owners.GitHub, strings.Repeat("#\n", 3<<19) + "#", "more than the 3145728 that are read"},
		{owners.GitHub, "\n\n! @x\na b\n", "CODEOWNERS:4: got \"b\""},
		{owners.GitLab, "\n*.go", "CODEOWNERS:2: *.go has no owners; add some, or exclude it with `!*.go`"},
		{owners.GitLab, "[Docs]\na\n", "has no owners"},
		{owners.GitLab, "[] @x\n", "the section has no name"},
		{owners.GitLab, "[Docs @x\n", "want a section such as"},
		{owners.GitLab, "[Docs]{2} @x\n", "want a section such as"},
		{owners.GitLab, "[Docs][0] @x\n", `asks for "0" approvals`},
		{owners.GitLab, "[Docs][two] @x\n", `asks for "two" approvals`},
		{owners.GitLab, "[Docs][] @x\n", `asks for "" approvals`},
		{owners.GitLab, "[Docs] x\n", `got "x", want an owner`},
		{owners.GitLab, "a @x # @y\n", "GitLab knows no comments"},
		{owners.GitLab, "a @@guest\n", "want an owner"},
		{owners.GitLab, "/[a @x\n", "want a class of characters"},
		{owners.GitLab, "/x[z-a] @x\n", "the pattern cannot be used"},
		{owners.GitLab, "! @x\n", "matches no file"},
		{owners.Gitea, "\n.*", "CODEOWNERS:2: .* has no owners, and Gitea skips the line"},
		{owners.Gitea, ".* # @x", "has no owners"},
		{owners.Gitea, "(?!x).* @x", "without look-around"},
		{owners.Gitea, "a( @x", "the expression cannot be used"},
		{owners.Gitea, "a x@example.com", "got \"x@example.com\", want an owner: @login or @organisation/team"},
		{owners.Gitea, "a @x/y/z", "want an owner"},
		{owners.Gitea, long + " @x", "1025 bytes"},
		{owners.Gitea, "a" + strings.Repeat(" @x", 101), "101 owners"},
		{owners.Gitea, strings.Repeat("a @x\n", 10_001), "more than the 10000 entries"},
	}
	for _, tt := range tests {
		f, err := owners.Parse("CODEOWNERS", []byte(tt.text), tt.dialect)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %.40q: got %v, want %q; read as %+v", tt.dialect, tt.text, err, tt.want, f)
		}
	}
	_, err := owners.Parse("CODEOWNERS", []byte(strings.Repeat("a b\n", 100)), owners.GitHub)
	if n := strings.Count(fmt.Sprint(err), "\n") + 1; n != 20 {
		t.Errorf("%d problems are listed", n)
	}
}

func TestWhereForgesLookIsKnown(t *testing.T) {
	for path, want := range map[string]bool{".github/CODEOWNERS": true, ".gitlab/CODEOWNERS": true, ".gitea/CODEOWNERS": true, ".forgejo/CODEOWNERS": true, "docs/CODEOWNERS": true, "CODEOWNERS": true, "x/CODEOWNERS": false, "codeowners": false} {
		if owners.Is(path) != want {
			t.Errorf("Is(%s) is %v", path, !want)
		}
	}
}

// A pattern that makes backtracking matchers run for ever is as fast as others.
func TestLongGlobsAreHarmless(t *testing.T) {
	for _, d := range []owners.Dialect{owners.GitHub, owners.GitLab} {
		f := parse(t, d, strings.Repeat("**/*a*a*a*/", 20)+"b @x")
		start := time.Now()
		if got := f.Of(strings.Repeat(strings.Repeat("a", 40)+"/", 30) + "c"); len(got) > 0 {
			t.Error("matches")
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", d, took)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"* @a\n/docs/ @b/c x@example.com # why\n", "[A][2] @x\na\n!b\n^[B]\n/x[a-z]/**/y\\ z @q\n", "\ufeff\\#", "**/**/*?", "a\\", "!a|b.*\\\\.c @a/b c # d"} {
		f.Add(s, "docs/a")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		for _, d := range []owners.Dialect{owners.GitHub, owners.GitLab, owners.Gitea} {
			file, err := owners.Parse("CODEOWNERS", []byte(text), d)
			if err != nil {
				continue
			}
			for _, set := range file.Of(path) {
				if len(set.Owners) == 0 || slices.Contains(set.Owners, "") || d == owners.GitHub && (set.Section != "" || set.Optional) {
					t.Fatalf("%q on %q: %+v", text, path, set)
				}
			}
		}
	})
}

func BenchmarkOf(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "/apps/team-%d/ @acme/team-%d\n*.ext%d @x\n", i, i, i)
	}
	f, err := owners.Parse("CODEOWNERS", []byte(text.String()), owners.GitHub)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f.Of("apps/team-0/overlays/production/deployment.yaml")
	}
}
