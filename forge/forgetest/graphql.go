package forgetest

import (
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"regexp"
	"strings"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"lockkeeper/forge/forgetest/bare"
)

// schemaText is the part of GitHub's GraphQL schema that is answered, in its
// own words and types. A query for anything else is refused by the parser.
const schemaText = `
scalar URI
scalar DateTime
scalar GitObjectID
interface Node { id: ID! }
interface Actor { login: String! }
type Query {
  repository(owner: String!, name: String!, followRenames: Boolean = true): Repository
  node(id: ID!): Node
  nodes(ids: [ID!]!): [Node]!
  viewer: User!
}
type User implements Node & Actor { id: ID! databaseId: Int login: String! }
type Bot implements Node & Actor { id: ID! databaseId: Int login: String! }
type Repository implements Node {
  id: ID! databaseId: Int name: String! nameWithOwner: String! isArchived: Boolean!
  pullRequest(number: Int!): PullRequest
  object(oid: GitObjectID, expression: String): GitObject
}
interface GitObject { oid: GitObjectID! id: ID! }
type Commit implements Node & GitObject {
  id: ID! oid: GitObjectID! message: String! messageHeadline: String! parents(first: Int, after: String): CommitConnection!
  authors(first: Int, after: String): GitActorConnection! author: GitActor committer: GitActor
}
type CommitConnection { totalCount: Int! nodes: [Commit] pageInfo: PageInfo! }
type GitActor { name: String email: String user: User }
type GitActorConnection { totalCount: Int! nodes: [GitActor] pageInfo: PageInfo! }
type PageInfo { hasNextPage: Boolean! endCursor: String }
enum PullRequestReviewDecision { APPROVED CHANGES_REQUESTED REVIEW_REQUIRED }
enum PullRequestState { OPEN CLOSED MERGED }
type PullRequest implements Node {
  id: ID! number: Int! title: String! state: PullRequestState! isDraft: Boolean! merged: Boolean! author: Actor
  headRefOid: GitObjectID! baseRefName: String! reviewDecision: PullRequestReviewDecision baseRef: Ref
  reviewThreads(first: Int, after: String): PullRequestReviewThreadConnection!
  commits(first: Int, after: String): PullRequestCommitConnection!
}
type PullRequestReviewThreadConnection { totalCount: Int! nodes: [PullRequestReviewThread] pageInfo: PageInfo! }
type PullRequestReviewThread { isResolved: Boolean! }
type PullRequestCommit { commit: Commit! }
type PullRequestCommitConnection { totalCount: Int! nodes: [PullRequestCommit] pageInfo: PageInfo! }
type Ref { name: String! refUpdateRule: RefUpdateRule }
type RefUpdateRule {
  requiresConversationResolution: Boolean! requiresSignatures: Boolean! viewerCanPush: Boolean!
  requiredApprovingReviewCount: Int requiredStatusCheckContexts: [String] allowsForcePushes: Boolean!
}
type Mutation {
  markPullRequestReadyForReview(input: DraftInput!): DraftPayload
  convertPullRequestToDraft(input: DraftInput!): DraftPayload
}
input DraftInput { pullRequestId: ID! }
type DraftPayload { pullRequest: PullRequest }
`

var gqlSchema = gqlparser.MustLoadSchema(&ast.Source{Name: "github", Input: schemaText})

// field answers one field with its arguments.
type field func(args map[string]any) (any, error)

// gqlNode is one object: its type, and its fields as values or functions.
type gqlNode struct {
	kind   string
	fields map[string]any
}

var errGQLNotFound = errors.New("NOT_FOUND")

func graphQL(c *call) reply {
	if c.cred == nil {
		return refuse(http.StatusUnauthorized, "This endpoint requires you to be authenticated.")
	}
	var in struct {
		Query     string
		Variables map[string]any
	}
	if out, good := c.decode(&in); !good {
		return out
	}
	doc, errs := gqlparser.LoadQuery(gqlSchema, in.Query)
	if len(errs) > 0 || len(doc.Operations) != 1 {
		return ok(obj{"errors": []any{obj{"message": errs.Error()}}})
	}
	op := doc.Operations[0]
	root := c.gqlQuery()
	if op.Operation == ast.Mutation {
		root = c.gqlMutation()
	}
	run := &gqlRun{vars: in.Variables}
	data := run.object(root, op.SelectionSet, nil)
	out := obj{"data": data}
	if len(run.errs) > 0 {
		out["errors"] = run.errs
	}
	return ok(out)
}

// gqlRun walks a query over the nodes.
type gqlRun struct {
	vars map[string]any
	errs []any
}

func (g *gqlRun) object(n *gqlNode, set ast.SelectionSet, path []any) obj {
	out := obj{}
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.InlineFragment:
			if gqlIs(n.kind, sel.TypeCondition) {
				for k, v := range g.object(n, sel.SelectionSet, path) {
					out[k] = v
				}
			}
		case *ast.FragmentSpread:
			if gqlIs(n.kind, sel.Definition.TypeCondition) {
				for k, v := range g.object(n, sel.Definition.SelectionSet, path) {
					out[k] = v
				}
			}
		case *ast.Field:
			out[sel.Alias] = g.field(n, sel, append(path[:len(path):len(path)], sel.Alias))
		}
	}
	return out
}

// gqlIs reports whether a fragment on condition applies to an object type.
func gqlIs(kind, condition string) bool {
	if condition == "" || kind == condition {
		return true
	}
	for _, def := range gqlSchema.GetPossibleTypes(gqlSchema.Types[condition]) {
		if def.Name == kind {
			return true
		}
	}
	return false
}

func (g *gqlRun) field(n *gqlNode, sel *ast.Field, path []any) any {
	if sel.Name == "__typename" {
		return n.kind
	}
	value := n.fields[sel.Name]
	if f, isFunc := value.(field); isFunc {
		var err error
		if value, err = f(sel.ArgumentMap(g.vars)); err != nil {
			kind := "UNPROCESSABLE"
			if errors.Is(err, errGQLNotFound) {
				kind = "NOT_FOUND"
			}
			g.errs = append(g.errs, obj{"type": kind, "path": path, "message": err.Error()})
			return nil
		}
	}
	switch v := value.(type) {
	case *gqlNode:
		if v == nil {
			return nil
		}
		return g.object(v, sel.SelectionSet, path)
	case []*gqlNode:
		list := []any{}
		for i, item := range v {
			if item == nil {
				list = append(list, nil)
				continue
			}
			list = append(list, g.object(item, sel.SelectionSet, append(path[:len(path):len(path)], i)))
		}
		return list
	}
	return value
}

func (c *call) gqlQuery() *gqlNode {
	return &gqlNode{"Query", map[string]any{
		"viewer": gqlUser(c.actor()),
		"repository": field(func(a map[string]any) (any, error) {
			r := c.s.repo(a["owner"].(string), a["name"].(string))
			if r == nil || !c.s.sees(c.cred, r) {
				return nil, fmt.Errorf("%w: Could not resolve to a Repository with the name '%s/%s'.", errGQLNotFound, a["owner"], a["name"])
			}
			return c.gqlRepo(r), nil
		}),
		"node": field(func(a map[string]any) (any, error) { return c.gqlByID(a["id"].(string)) }),
		"nodes": field(func(a map[string]any) (any, error) {
			list := []*gqlNode{}
			for _, id := range a["ids"].([]any) {
				n, err := c.gqlByID(id.(string))
				if err != nil {
					return nil, err
				}
				list = append(list, n)
			}
			return list, nil
		}),
	}}
}

// gqlByID finds a commit or a pull by its node id.
func (c *call) gqlByID(id string) (*gqlNode, error) {
	kind, rest, _ := strings.Cut(id, "_")
	for _, r := range c.s.sortedRepos() {
		if !c.s.sees(c.cred, r) {
			continue
		}
		if sha, found := strings.CutPrefix(rest, fmt.Sprintf("%d_", r.id)); found && kind == "C" {
			if commit, err := r.git.Commit(c.ctx, sha); err == nil {
				return c.gqlCommit(r, commit), nil
			}
		}
		for _, p := range r.pulls {
			if node("PR", p.id) == id {
				return c.gqlPull(p), nil
			}
		}
	}
	return nil, fmt.Errorf("%w: Could not resolve to a node with the global id of '%s'", errGQLNotFound, id)
}

func gqlUser(a *account) *gqlNode {
	if a == nil {
		return nil
	}
	kind := "User"
	if a.kind == "Bot" {
		kind = "Bot"
	}
	return &gqlNode{kind, map[string]any{"id": node("U", a.id), "databaseId": a.id, "login": strings.TrimSuffix(a.login, "[bot]")}}
}

func (c *call) gqlRepo(r *repo) *gqlNode {
	return &gqlNode{"Repository", map[string]any{
		"id": node("R", r.id), "databaseId": r.id, "name": r.name, "nameWithOwner": r.full(), "isArchived": r.archived,
		"pullRequest": field(func(a map[string]any) (any, error) {
			n, err := toInt(a["number"])
			if p := r.pulls[n]; err == nil && p != nil {
				return c.gqlPull(p), nil
			}
			return nil, fmt.Errorf("%w: Could not resolve to a PullRequest with the number of %v.", errGQLNotFound, a["number"])
		}),
		"object": field(func(a map[string]any) (any, error) {
			rev, _ := a["oid"].(string)
			if rev == "" {
				rev, _ = a["expression"].(string)
			}
			commit, err := r.git.Commit(c.ctx, rev)
			if err != nil {
				return (*gqlNode)(nil), nil
			}
			return c.gqlCommit(r, commit), nil
		}),
	}}
}

func toInt(v any) (int, error) {
	var n int
	_, err := fmt.Sscan(fmt.Sprint(v), &n)
	return n, err
}

// gqlList is a connection, whole in one page up to GitHub's 100.
func gqlList(kind string, list []*gqlNode) field {
	return func(a map[string]any) (any, error) {
		first, err := toInt(a["first"])
		if err != nil {
			return nil, fmt.Errorf("You must provide a `first` or `last` value to properly paginate the %s connection.", kind)
		}
		from, _ := toInt(a["after"])
		to := min(from+min(first, 100), len(list))
		more := to < len(list)
		var cursor any
		if more {
			cursor = itoa(to)
		}
		page := &gqlNode{"PageInfo", map[string]any{"hasNextPage": more, "endCursor": cursor}}
		return &gqlNode{kind + "Connection", map[string]any{"totalCount": len(list), "nodes": list[min(from, len(list)):to], "pageInfo": page}}, nil
	}
}

func (c *call) gqlPull(p *pull) *gqlNode {
	state := strings.ToUpper(p.state())
	if p.merged {
		state = "MERGED"
	}
	rules := p.repo.protection[p.baseRef]
	var rule *gqlNode
	if !rules.isZero() && !rules.Ruleset {
		rule = &gqlNode{"RefUpdateRule", map[string]any{
			"requiresConversationResolution": false, "requiresSignatures": rules.Signatures, "viewerCanPush": true,
			"requiredApprovingReviewCount": rules.Reviews, "requiredStatusCheckContexts": rules.Checks, "allowsForcePushes": false}}
	}
	var commits []*gqlNode
	for _, m := range p.commits(c.ctx) {
		commits = append(commits, &gqlNode{"PullRequestCommit", map[string]any{"commit": c.gqlCommit(p.repo, m)}})
	}
	return &gqlNode{"PullRequest", map[string]any{
		"id": node("PR", p.id), "number": p.number, "title": p.title, "state": state, "isDraft": p.draft, "merged": p.merged,
		"author": gqlUser(p.author), "headRefOid": p.headSHA, "baseRefName": p.baseRef, "reviewDecision": orNil(c.s.decision(p)),
		"baseRef":       &gqlNode{"Ref", map[string]any{"name": p.baseRef, "refUpdateRule": rule}},
		"reviewThreads": gqlList("PullRequestReviewThread", nil), "commits": gqlList("PullRequestCommit", commits),
	}}
}

var coAuthor = regexp.MustCompile(`(?im)^co-authored-by:\s*(.+)$`)

// gqlCommit lists authors as GitHub does: the author, then the trailers'.
func (c *call) gqlCommit(r *repo, m bare.Commit) *gqlNode {
	who := func(p bare.Person) *gqlNode {
		return &gqlNode{"GitActor", map[string]any{"name": p.Name, "email": p.Email, "user": gqlUser(c.s.accountByEmail(p.Email))}}
	}
	authors := []*gqlNode{who(m.Author)}
	seen := map[string]bool{m.Author.Email: true}
	for _, match := range coAuthor.FindAllStringSubmatch(m.Message, -1) {
		addr, err := mail.ParseAddress(strings.TrimSpace(match[1]))
		if err == nil && !seen[addr.Address] {
			seen[addr.Address] = true
			authors = append(authors, who(bare.Person{Name: addr.Name, Email: addr.Address}))
		}
	}
	var parents []*gqlNode
	for _, p := range m.Parents {
		parents = append(parents, &gqlNode{"Commit", map[string]any{"id": commitNode(r, p), "oid": p}})
	}
	headline, _, _ := strings.Cut(m.Message, "\n")
	return &gqlNode{"Commit", map[string]any{
		"id": commitNode(r, m.SHA), "oid": m.SHA, "message": m.Message, "messageHeadline": headline, "author": who(m.Author),
		"committer": who(m.Committer), "authors": gqlList("GitActor", authors), "parents": gqlList("Commit", parents),
	}}
}

// gqlMutation: a draft is made ready, and a pull a draft, through GraphQL only.
func (c *call) gqlMutation() *gqlNode {
	setDraft := func(draft bool, action string) field {
		return func(a map[string]any) (any, error) {
			id := a["input"].(map[string]any)["pullRequestId"].(string)
			for _, r := range c.s.sortedRepos() {
				for _, p := range r.pulls {
					if node("PR", p.id) != id || !c.s.sees(c.cred, r) {
						continue
					}
					if p.author != c.actor() && !atLeast(c.s.role(c.cred, r), "write") {
						return nil, errors.New("FORBIDDEN: must have write access or be the author")
					}
					if p.draft != draft {
						p.draft, p.updated = draft, c.s.tick()
						c.s.emitPull(c.ctx, p, action, c.actor(), nil)
					}
					return &gqlNode{"DraftPayload", map[string]any{"pullRequest": c.gqlPull(p)}}, nil
				}
			}
			return nil, errGQLNotFound
		}
	}
	return &gqlNode{"Mutation", map[string]any{
		"markPullRequestReadyForReview": setDraft(false, "ready_for_review"),
		"convertPullRequestToDraft":     setDraft(true, "converted_to_draft"),
	}}
}
