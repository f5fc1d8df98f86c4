package forgetest_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/forgetest/page"
)

func TestConversationPageShowsAndAnswers(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"app/config.yaml": "replicas: 2\n"})
	path := fmt.Sprintf("%s/%s/pull/%d", w.URL, shop, n)
	jar, err := cookiejar.New(nil)
	w.must(err)
	browser := &http.Client{Jar: jar}
	post := func(to string, form url.Values) {
		t.Helper()
		res, err := browser.PostForm(to, form)
		w.must(err)
		w.must(res.Body.Close())
		if res.StatusCode != 200 {
			t.Errorf("%s: %s", to, res.Status)
		}
	}
	post(w.URL+"/session", url.Values{"user": {"bob"}})
	post(path, url.Values{"do": {"comment"}, "body": {"Looks **fine**"}})
	post(path, url.Values{"do": {"APPROVE"}})
	_, html := get(t, path, "", nil)
	for _, part := range []string{"<strong>fine</strong>", "approved these changes", "Nothing keeps this from being merged", "replicas: 2", "<title>Change feature"} {
		if !strings.Contains(html, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	post(path, url.Values{"do": {"merge"}})
	if p := w.read(n); !p.Merged {
		t.Error("the merge button did not merge")
	}
	for _, path := range []string{"/", "/" + shop + "/pulls", "/assets/style.css", "/assets/live.js"} {
		if res, _ := get(t, w.URL+path, "", nil); res.StatusCode != 200 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if res, _ := get(t, w.URL+"/acme/none/pull/1", "", nil); res.StatusCode != 404 {
		t.Errorf("an unknown pull: %s", res.Status)
	}
}

func TestOwnApprovalIsExplainedOnThePage(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	res, err := http.PostForm(fmt.Sprintf("%s/%s/pull/%d", w.URL, shop, n), url.Values{"do": {"APPROVE"}}) // ann was seeded first
	w.must(err)
	defer res.Body.Close()
	if got := res.Request.URL.Query().Get("problem"); !strings.Contains(got, "Can not approve your own pull request") {
		t.Errorf("the problem shown: %q", got)
	}
}

func TestMarkdownIsRenderedAndHarmless(t *testing.T) {
	html := string(page.Markdown("<!-- marker -->\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n<details><summary>S</summary>\n\n```diff\n- old <b>\n+ new\n```\n\n</details>\n\n> [!WARNING]\n> care\n\n<script>alert(1)</script><img src=x onerror=alert(1)>\n\n[l](javascript:alert(1))"))
	for _, part := range []string{`<td align="right">2</td>`, "<summary>S</summary>", `<span class="line del">- old &lt;b&gt;</span>`, `<span class="line add">+ new</span>`, `class="alert warning"`} {
		if !strings.Contains(html, part) {
			t.Errorf("%q is not in\n%s", part, html)
		}
	}
	for _, part := range []string{"<script", "onerror", "javascript:", "marker"} {
		if strings.Contains(html, part) {
			t.Errorf("%q is in\n%s", part, html)
		}
	}
}
