package graphql

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/lab"
)

// errNoResource is how GitLab's GraphQL says 404.
//
//lint:ignore ST1005 GitLab's own words
var errNoResource = errors.New("The resource that you are attempting to access does not exist or you don't have permission to perform this action")

func (a *ask) query() node {
	return node{
		"currentUser": userNode(a.user),
		"users": field(func(args map[string]any) (any, error) {
			list := slices.DeleteFunc(slices.Clone(a.Users), func(u *lab.User) bool {
				return args["ids"] != nil && !listed(args["ids"], gid("User", u.ID)) || args["usernames"] != nil && !listed(args["usernames"], u.Login)
			})
			return connection(list, args, userNode), nil
		}),
		"project": field(func(args map[string]any) (any, error) {
			p := a.Project(fmt.Sprint(args["fullPath"]))
			if p == nil || !a.Sees(a.user, p) {
				return nil, nil
			}
			return a.project(p), nil
		}),
		"projects": field(func(args map[string]any) (any, error) {
			list := slices.DeleteFunc(slices.Clone(a.Projects), func(p *lab.Project) bool {
				return !a.Sees(a.user, p) || args["ids"] != nil && !listed(args["ids"], gid("Project", p.ID))
			})
			return connection(list, args, a.project), nil
		}),
	}
}

func listed(list any, text string) bool {
	items, _ := list.([]any)
	return slices.Contains(items, any(text))
}

func (a *ask) mutation() node {
	return node{"mergeRequestReviewerRereview": field(func(args map[string]any) (any, error) {
		in, _ := args["input"].(map[string]any)
		p := a.Project(fmt.Sprint(in["projectPath"]))
		iid, _ := strconv.Atoi(fmt.Sprint(in["iid"]))
		if p == nil || p.MRs[iid] == nil || !a.May(a.user, p, lab.Developer) {
			return nil, errNoResource
		}
		failed := []string{}
		if !a.Rereview(p.MRs[iid], a.user, a.UserByID(number(in["userId"]))) {
			failed = append(failed, "Reviewer not found")
		}
		return node{"errors": failed, "mergeRequest": a.mr(p.MRs[iid]), "clientMutationId": in["clientMutationId"]}, nil
	})}
}

func userNode(u *lab.User) node {
	if u == nil {
		return nil
	}
	return node{"id": gid("User", u.ID), "username": u.Login, "name": u.Name, "bot": u.Bot, "publicEmail": "", "state": u.State}
}

func (a *ask) project(p *lab.Project) node {
	return node{"id": gid("Project", p.ID), "fullPath": p.Full(), "name": p.Path, "archived": p.Archived,
		"mergeRequest": field(func(args map[string]any) (any, error) {
			iid, _ := strconv.Atoi(fmt.Sprint(args["iid"]))
			m := p.MRs[iid]
			if m == nil || !a.Reads(a.user, p) {
				return nil, nil
			}
			return a.mr(m), nil
		})}
}

func (a *ask) mr(m *lab.MR) node {
	return node{
		"id": gid("MergeRequest", m.ID), "iid": strconv.Itoa(m.IID), "title": m.Title, "state": m.State, "draft": m.Draft(), "diffHeadSha": m.Head(), "author": userNode(m.Author),
		"notes": field(func(args map[string]any) (any, error) { return connection(m.Project.Notes(m, nil), args, note), nil }),
		"commits": field(func(args map[string]any) (any, error) {
			list := slices.Clone(m.Commits(a.ctx))
			slices.Reverse(list)
			return connection(list, args, a.commit), nil
		}),
		"mergeabilityChecks": field(func(map[string]any) (any, error) {
			var list []node
			for _, c := range a.Checks(a.ctx, m) {
				list = append(list, node{"identifier": strings.ToUpper(c.Name), "status": c.Status})
			}
			return list, nil
		}),
	}
}

func note(n *lab.Remark) node {
	o := node{"id": gid("Note", n.ID), "body": n.Body, "system": n.System, "author": userNode(n.Author), "createdAt": lab.Stamp(n.Created), "updatedAt": lab.Stamp(n.Updated),
		"lastEditedAt": nil, "lastEditedBy": userNode(n.EditedBy)}
	if !n.Edited.IsZero() {
		o["lastEditedAt"] = lab.Stamp(n.Edited)
	}
	return o
}

// commit names the account that the author's address belongs to.
func (a *ask) commit(c bare.Commit) node {
	title, _, _ := strings.Cut(c.Message, "\n")
	return node{"id": "gid://gitlab/Commit/" + c.SHA, "sha": c.SHA, "title": title, "authorName": c.Author.Name, "authorEmail": c.Author.Email,
		"author": userNode(a.UserByEmail(c.Author.Email)), "committerName": c.Committer.Name, "committerEmail": c.Committer.Email}
}
