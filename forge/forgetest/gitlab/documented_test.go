package gitlab_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"
)

// clientDir is where GitLab's own Go client is, with the examples of GitLab's
// documentation in its tests.
var clientDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gitlab.com/gitlab-org/api/client-go").Output()
	return strings.TrimSpace(string(out)), err
})

// example reads a documented answer: a file of the client's testdata, or
// "file_test.go#Function", the first JSON in that function.
func example(t *testing.T, from string) any {
	t.Helper()
	dir, err := clientDir()
	if err != nil {
		t.Fatalf("where is GitLab's client? %v", err)
	}
	file, function, inCode := strings.Cut(from, "#")
	if !inCode {
		data, err := os.ReadFile(filepath.Join(dir, "testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		return parsed(t, data)
	}
	tree, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found any
	for _, d := range tree.Decls {
		if f, isFunc := d.(*ast.FuncDecl); isFunc && f.Name.Name == function {
			ast.Inspect(f, func(n ast.Node) bool {
				lit, isLit := n.(*ast.BasicLit)
				if found == nil && isLit && lit.Kind == token.STRING && strings.HasPrefix(lit.Value, "`") {
					var v any
					if json.Unmarshal([]byte(strings.Trim(lit.Value, "`")), &v) == nil {
						found = v
					}
				}
				return found == nil
			})
		}
	}
	if found == nil {
		t.Fatalf("no JSON in %s", from)
	}
	return found
}

func parsed(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

// unknownToClient are keys that GitLab answers and its client does not know, by
// the client's type, with the class of GitLab's source or the page of its
// documentation that has them.
var unknownToClient = map[string]string{
	"BasicMergeRequest": "imported imported_from merge_status reference work_in_progress approvals_before_merge: API::Entities::MergeRequestBasic, EE::API::Entities::MergeRequestBasic",
	"MergeRequest":      "merge_status reference approvals_before_merge: as BasicMergeRequest", "MergeRequestDiffVersion": "patch_id_sha: MergeRequestDiff",
	"MergeRequestApproverUser": "approved_at: API::Entities::Approvals", "MergeRequestApprovalRule": "overridden code_owner: EE::API::Entities::MergeRequestApprovalStateRule",
	"Note": "commands_changes imported imported_from: API::Entities::Note", "NoteAuthor": "locked: UserBasic", "AwardEmoji": "url: API::Entities::AwardEmoji",
	"Issue":      "type severity has_tasks imported imported_from: API::Entities::Issue, IssueBasic",
	"IssueLinks": "closed_as_duplicate_of: API::Entities::Issue", "IssueAuthor": "locked: UserBasic", "IssueCloser": "locked: UserBasic",
	"ProjectMember": "locked membership_state: UserBasic, Member", "GroupMember": "locked membership_state: UserBasic, Member", "User": "followers following: User",
	"ProjectEvent":           "imported imported_from: API::Entities::Event",
	"ProjectEventNote":       "updated_at type resolvable project_id internal confidential commands_changes imported imported_from: Note",
	"ProjectEventNoteAuthor": "locked: UserBasic", "ProjectEventPushData": "ref_count: PushEventPayload", "Author": "locked web_url avatar_url: UserBasic",
	"ProtectedBranch": "inherited: EE::API::Entities::ProtectedBranch", "ProjectApprovals": "require_reauthentication_to_approve: ApprovalSettings",
	"Diff": "too_large generated_file collapsed: API::Entities::Diff",
}

func unknown(typ reflect.Type, key string) bool {
	list, _, _ := strings.Cut(unknownToClient[typ.Name()], ":")
	return slices.Contains(strings.Fields(list), key)
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	rawTypes  = reflect.TypeFor[json.RawMessage]()
	isoType   = reflect.TypeFor[gl.ISOTime]()
	labelType = reflect.TypeFor[gl.Labels]()
)

// fits reports where an answer has a key that the client's type does not know, or
// a value that the type cannot hold.
func fits(v any, typ reflect.Type, at string, report func(string)) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if v == nil || typ.Kind() == reflect.Interface {
		return
	}
	if object, isObject := v.(map[string]any); isObject && typ.Kind() == reflect.Struct && typ != timeType && typ != isoType {
		for key, value := range object {
			if f, known := field(typ, key); known {
				fits(value, f, at+"."+key, report)
			} else if !unknown(typ, key) {
				report(fmt.Sprintf("%s.%s is not known to %s", at, key, typ))
			}
		}
		return
	}
	if list, isList := v.([]any); isList && typ.Kind() == reflect.Slice && typ != rawTypes && typ != labelType {
		for i, item := range list {
			fits(item, typ.Elem(), fmt.Sprintf("%s[%d]", at, i), report)
		}
		return
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(typ).Interface())
	}
	if err != nil {
		report(fmt.Sprintf("%s: %v", at, err))
	}
}

// field finds the type of a key in a struct, embedded ones included.
func field(typ reflect.Type, key string) (reflect.Type, bool) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			of := f.Type
			for of.Kind() == reflect.Pointer {
				of = of.Elem()
			}
			if found, ok := field(of, key); ok {
				return found, true
			}
			continue
		}
		if name == key || name == "" && strings.EqualFold(f.Name, key) {
			return f.Type, true
		}
	}
	return nil, false
}

// keys lists the keys of a JSON value, nested ones by their path; of a list, those
// of its first item. What is null in it has no keys below.
func keys(v any, at string, into map[string]any) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			into[at+key] = value
			keys(value, at+key+".", into)
		}
	case []any:
		if len(v) > 0 {
			keys(v[0], at, into)
		}
	}
	return into
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case float64:
		return "number"
	case string:
		return "text"
	case []any:
		return "list"
	}
	return "object"
}

// like reports which keys of a documented example an answer lacks, and which have
// another type; missing are those that it may lack.
func like(answer, documented any, missing []string, report func(string)) {
	have := keys(answer, "", map[string]any{})
	for key, want := range keys(documented, "", map[string]any{}) {
		got, there := have[key]
		optional := slices.ContainsFunc(missing, func(m string) bool { return key == m || strings.HasPrefix(key, m+".") })
		above := key[:max(0, strings.LastIndex(key, "."))]
		switch {
		case optional:
		case !there && above != "" && (kind(have[above]) == "null" || kind(have[above]) == "list" && len(have[above].([]any)) == 0):
		case !there:
			report(fmt.Sprintf("the documented key %s is missing", key))
		case want != nil && got != nil && kind(want) != kind(got):
			report(fmt.Sprintf("%s is a %s, documented as %s", key, kind(got), kind(want)))
		}
	}
}
