// Package graphql answers the part of GitLab's GraphQL API that lockkeeper asks
// for, by its published names and types.
package graphql

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"lockkeeper/forge/forgetest/gitlab/internal/lab"
)

// schemaText is the part of GitLab's schema that is answered. A query for anything
// else is refused by the parser, as GitLab refuses what it does not know.
const schemaText = `
scalar Time
scalar UserID
type Query {
  currentUser: UserCore
  users(ids: [ID!], usernames: [String!], first: Int, after: String): UserCoreConnection
  project(fullPath: ID!): Project
  projects(ids: [ID!], first: Int, after: String): ProjectConnection
}
type PageInfo { hasNextPage: Boolean! endCursor: String }
type UserCore { id: ID! username: String! name: String! bot: Boolean! publicEmail: String state: String! }
type UserCoreConnection { nodes: [UserCore] pageInfo: PageInfo! }
type Project { id: ID! fullPath: ID! name: String! archived: Boolean mergeRequest(iid: String!): MergeRequest }
type ProjectConnection { nodes: [Project] pageInfo: PageInfo! }
type MergeRequest {
  id: ID! iid: String! title: String! state: String! draft: Boolean! diffHeadSha: String author: UserCore
  notes(first: Int, after: String): NoteConnection! commits(first: Int, after: String): CommitConnection
  mergeabilityChecks: [MergeRequestMergeabilityCheck!]!
}
type Note { id: ID! body: String! system: Boolean! author: UserCore createdAt: Time! updatedAt: Time! lastEditedAt: Time lastEditedBy: UserCore }
type NoteConnection { nodes: [Note] pageInfo: PageInfo! }
type Commit { id: ID! sha: String! title: String authorName: String authorEmail: String author: UserCore committerName: String committerEmail: String }
type CommitConnection { nodes: [Commit] pageInfo: PageInfo! }
type MergeRequestMergeabilityCheck { identifier: String! status: String! }
type Mutation { mergeRequestReviewerRereview(input: MergeRequestReviewerRereviewInput!): MergeRequestReviewerRereviewPayload }
input MergeRequestReviewerRereviewInput { clientMutationId: String projectPath: ID! iid: String! userId: UserID! }
type MergeRequestReviewerRereviewPayload { clientMutationId: String errors: [String!]! mergeRequest: MergeRequest }
`

var published = gqlparser.MustLoadSchema(&ast.Source{Name: "gitlab", Input: schemaText})

// obj is a JSON object, or an object of the schema: its fields are values, nodes or
// functions of the arguments.
type obj = map[string]any

// node is an object of the schema.
type node obj

// field answers one field with its arguments.
type field func(args map[string]any) (any, error)

// ask is one query being answered, with the lab's lock held.
type ask struct {
	*lab.Lab
	ctx  context.Context
	user *lab.User
}

// Answer runs a query or a mutation for somebody. GraphQL answers 200 with its
// errors inside.
func Answer(ctx context.Context, s *lab.Lab, u *lab.User, query string, vars map[string]any) map[string]any {
	doc, errs := gqlparser.LoadQueryWithRules(published, query, rules.NewDefaultRules())
	if len(errs) > 0 || len(doc.Operations) != 1 {
		return obj{"errors": []any{obj{"message": errs.Error()}}}
	}
	op := doc.Operations[0]
	vars, err := validator.VariableValues(published, op, vars)
	if err != nil {
		return obj{"errors": []any{obj{"message": err.Error()}}}
	}
	a := &ask{s, ctx, u}
	root := a.query()
	if op.Operation == ast.Mutation {
		root = a.mutation()
	}
	run := &runner{vars: vars}
	out := obj{"data": run.object(root, op.SelectionSet, nil)}
	if len(run.errs) > 0 {
		out["errors"] = run.errs
	}
	return out
}

// runner walks a query over the nodes.
type runner struct {
	vars map[string]any
	errs []any
}

func (g *runner) object(n node, set ast.SelectionSet, path []any) obj {
	out := obj{}
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.InlineFragment:
			for k, v := range g.object(n, sel.SelectionSet, path) {
				out[k] = v
			}
		case *ast.FragmentSpread:
			for k, v := range g.object(n, sel.Definition.SelectionSet, path) {
				out[k] = v
			}
		case *ast.Field:
			at := append(path[:len(path):len(path)], sel.Alias)
			value := n[sel.Name]
			if f, isFunc := value.(field); isFunc {
				var err error
				if value, err = f(sel.ArgumentMap(g.vars)); err != nil {
					g.errs = append(g.errs, obj{"message": err.Error(), "path": at})
					value = nil
				}
			}
			out[sel.Alias] = g.value(value, sel, at)
		}
	}
	return out
}

func (g *runner) value(value any, sel *ast.Field, at []any) any {
	switch v := value.(type) {
	case node:
		if v == nil {
			return nil
		}
		return g.object(v, sel.SelectionSet, at)
	case []node:
		list := []any{}
		for i, item := range v {
			list = append(list, g.object(item, sel.SelectionSet, append(at[:len(at):len(at)], i)))
		}
		return list
	}
	return value
}

// most is how many nodes GitLab gives at once.
const most = 100

// connection pages a list by cursor.
func connection[T any](list []T, args map[string]any, shape func(T) node) node {
	from, per := 0, most
	if after, given := args["after"].(string); given && after != "" {
		text, _ := base64.StdEncoding.DecodeString(after)
		from, _ = strconv.Atoi(string(text))
	}
	if n, err := strconv.Atoi(fmt.Sprint(args["first"])); err == nil && n > 0 {
		per = min(n, most)
	}
	from = min(from, len(list))
	to := min(from+per, len(list))
	nodes := []node{}
	for _, item := range list[from:to] {
		nodes = append(nodes, shape(item))
	}
	info := node{"hasNextPage": to < len(list), "endCursor": nil}
	if to > from {
		info["endCursor"] = base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(to)))
	}
	return node{"nodes": nodes, "pageInfo": info}
}

// gid is a global ID, and number the number in one.
func gid(kind string, id int64) string { return fmt.Sprintf("gid://gitlab/%s/%d", kind, id) }

func number(gid any) int64 {
	text := fmt.Sprint(gid)
	id, _ := strconv.ParseInt(text[strings.LastIndex(text, "/")+1:], 10, 64)
	return id
}
