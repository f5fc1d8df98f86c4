package rest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/gitlab/internal/lab"
	"lockkeeper/forge/forgetest/gitlab/internal/post"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
	"lockkeeper/forge/forgetest/gitlab/internal/shape"
)

func version(c *call) (reply, error) {
	return ok(obj{"version": "18.5.0-ee", "revision": "0a1b2c3d4e5", "kas": obj{"enabled": false, "externalUrl": nil, "externalK8sProxyUrl": nil, "version": nil}, "enterprise": true})
}

func me(c *call) (reply, error) { return ok(c.UserFull(c.user, true)) }

func token(c *call) (reply, error) { return ok(c.TokenJSON(c.token)) }

func user(c *call) (reply, error) {
	if u := c.UserByID(c.number("user")); u != nil {
		return ok(c.UserFull(u, false))
	}
	return reply{}, refuse.NotFound("User")
}

func users(c *call) (reply, error) {
	list := slices.DeleteFunc(slices.Clone(c.Users), func(u *lab.User) bool {
		search := strings.ToLower(c.text("search"))
		// Addresses are found whole only, and by administrators; others find nobody by them.
		return c.text("username") != "" && !strings.EqualFold(u.Login, c.text("username")) ||
			search != "" && !strings.Contains(strings.ToLower(u.Login+" "+u.Name), search)
	})
	slices.Reverse(list)
	return keyed(c, list, func(u *lab.User) string { return strconv.FormatInt(u.ID, 10) }, c.UserJSON)
}

func projects(c *call) (reply, error) {
	return c.projectList(func(p *lab.Project) bool {
		member := c.Level(c.user, p) > 0
		return (!c.is("membership") || member) && c.enough(p)
	})
}

func (c *call) enough(p *lab.Project) bool {
	least, err := strconv.Atoi(c.text("min_access_level"))
	return err != nil || c.Level(c.user, p) >= least
}

func groupProjects(c *call) (reply, error) {
	below := c.Subgroups(c.group, true)
	return c.projectList(func(p *lab.Project) bool {
		return p.Group == c.group || c.is("include_subgroups") && slices.Contains(below, p.Group)
	})
}

func (c *call) projectList(want func(*lab.Project) bool) (reply, error) {
	var list []*lab.Project
	for _, p := range slices.Backward(c.Projects) {
		if c.Sees(c.user, p) && want(p) && (c.flag("archived") == nil || p.Archived == c.is("archived")) {
			list = append(list, p)
		}
	}
	if c.text("sort") == "asc" {
		slices.Reverse(list)
	}
	return keyed(c, list, func(p *lab.Project) string { return strconv.FormatInt(p.ID, 10) }, func(p *lab.Project) any { return c.ProjectJSON(p, c.user) })
}

func project(c *call) (reply, error) { return ok(c.ProjectJSON(c.project, c.user)) }

// editProject changes the settings that the stories need.
func editProject(c *call) (reply, error) {
	if err := c.least(lab.Maintainer); err != nil {
		return reply{}, err
	}
	p := c.project
	if on := c.flag("only_allow_merge_if_pipeline_succeeds"); on != nil {
		p.PipelinesMustSucceed = *on
	}
	if method := c.text("merge_method"); method != "" {
		if !slices.Contains([]string{"merge", "rebase_merge", "ff"}, method) {
			return reply{}, problem(http.StatusBadRequest, "merge_method does not have a valid value")
		}
		p.MergeMethod = method
	}
	if squash := c.text("squash_option"); squash != "" {
		p.Squash = squash
	}
	return ok(c.ProjectJSON(p, c.user))
}

func fork(c *call) (reply, error) {
	if !c.Reads(c.user, c.project) {
		return reply{}, refuse.Forbidden()
	}
	f, err := c.Fork(c.ctx, c.project, c.user)
	if err != nil {
		return reply{}, err
	}
	return created(c.ProjectJSON(f, c.user))
}

func forks(c *call) (reply, error) {
	return c.projectList(func(p *lab.Project) bool { return p.Forked == c.project })
}

func (c *call) memberList(list []lab.Member) (reply, error) {
	query := strings.ToLower(c.text("query"))
	ids := c.numbers("user_ids")
	list = slices.DeleteFunc(list, func(m lab.Member) bool {
		return query != "" && !strings.Contains(strings.ToLower(m.User.Login+" "+m.User.Name), query) || ids != nil && !slices.Contains(*ids, m.User.ID)
	})
	return page(c, list, true, func(m lab.Member) any { return c.MemberJSON(m) })
}

func (c *call) oneMember(list []lab.Member) (reply, error) {
	for _, m := range list {
		if m.User.ID == c.number("user") {
			return ok(c.MemberJSON(m))
		}
	}
	return reply{}, refuse.NotFound("")
}

// all reports whether inherited members are asked for.
func (c *call) all() bool { return strings.Contains(c.r.URL.Path, "/members/all") }

func members(c *call) (reply, error)      { return c.memberList(c.ProjectMembers(c.project, c.all())) }
func member(c *call) (reply, error)       { return c.oneMember(c.ProjectMembers(c.project, c.all())) }
func groupMembers(c *call) (reply, error) { return c.memberList(c.GroupMembers(c.group, c.all())) }
func groupMember(c *call) (reply, error)  { return c.oneMember(c.GroupMembers(c.group, c.all())) }

func group(c *call) (reply, error) { return ok(c.GroupJSON(c.group)) }

func subgroups(c *call) (reply, error) {
	list := slices.DeleteFunc(c.Subgroups(c.group, strings.HasSuffix(c.r.URL.Path, "/descendant_groups")), func(g *lab.Group) bool { return !c.SeesGroup(c.user, g) })
	return keyed(c, list, (*lab.Group).Full, func(g *lab.Group) any { return c.GroupJSON(g) })
}

// eventKinds are the actions of events by the word of the action parameter.
var eventKinds = map[string][]string{
	"pushed": {"pushed to", "pushed new", "deleted"}, "created": {"opened"}, "closed": {"closed"}, "reopened": {"reopened"}, "merged": {"accepted"},
	"commented": {"commented on"}, "approved": {"approved"},
}

// events lists what happened, newest first. before and after are days: what
// happened on the day itself is left out.
func events(c *call) (reply, error) {
	if !c.Reads(c.user, c.project) {
		return reply{}, refuse.NotFound("")
	}
	before, after := c.day("before"), c.day("after")
	var list []*lab.Event
	for _, e := range slices.Backward(c.project.Events) {
		target := strings.ReplaceAll(strings.ToLower(e.Target), "mergerequest", "merge_request")
		if kinds := eventKinds[c.text("action")]; c.text("action") != "" && !slices.Contains(kinds, e.Action) ||
			c.text("target_type") != "" && c.text("target_type") != target ||
			!before.IsZero() && !e.At.Before(before) || !after.IsZero() && e.At.Before(after.AddDate(0, 0, 1)) {
			continue
		}
		list = append(list, e)
	}
	if c.text("sort") == "asc" {
		slices.Reverse(list)
	}
	return page(c, list, true, func(e *lab.Event) any { return c.EventJSON(c.project, e) })
}

func (c *call) day(key string) time.Time {
	t, err := time.Parse("2006-01-02", c.text(key))
	if err != nil {
		return time.Time{}
	}
	return t
}

func (c *call) hookList() ([]*post.Hook, error) {
	if c.group != nil {
		if !slices.ContainsFunc(c.GroupMembers(c.group, true), func(m lab.Member) bool { return m.User == c.user && m.Level >= lab.Owner }) {
			return nil, refuse.Forbidden()
		}
		return c.group.Hooks, nil
	}
	return c.project.Hooks, c.least(lab.Maintainer)
}

func hooks(c *call) (reply, error) {
	list, err := c.hookList()
	if err != nil {
		return reply{}, err
	}
	return page(c, list, true, func(h *post.Hook) any { return c.HookJSON(h) })
}

func addHook(c *call) (reply, error) {
	if _, err := c.hookList(); err != nil {
		return reply{}, err
	}
	if err := c.needs("url"); err != nil {
		return reply{}, err
	}
	var on []string
	for event, key := range map[string]string{"push": "push_events", "tag_push": "tag_push_events", "merge_request": "merge_requests_events", "note": "note_events", "issue": "issues_events", "pipeline": "pipeline_events"} {
		if c.is(key) || event == "push" && c.flag(key) == nil {
			on = append(on, event)
		}
	}
	return created(c.HookJSON(c.AddHook(c.project, c.group, c.text("url"), c.text("token"), on...)))
}

func deleteHook(c *call) (reply, error) {
	list, err := c.hookList()
	if err != nil {
		return reply{}, err
	}
	kept := slices.DeleteFunc(slices.Clone(list), func(h *post.Hook) bool { return h.ID == c.number("hook") })
	if len(kept) == len(list) {
		return reply{}, refuse.NotFound("")
	}
	if c.group != nil {
		c.group.Hooks = kept
	} else {
		c.project.Hooks = kept
	}
	return noContent()
}

func protections(c *call) (reply, error) {
	if err := c.least(lab.Developer); err != nil {
		return reply{}, err
	}
	var names []string
	for name := range c.project.Protected {
		names = append(names, name)
	}
	slices.Sort(names)
	return page(c, names, true, func(name string) any { return shape.ProtectionJSON(name, c.project.Protected[name]) })
}

func protection(c *call) (reply, error) {
	if err := c.least(lab.Developer); err != nil {
		return reply{}, err
	}
	if r := c.project.Protected[c.path["branch"]]; r != nil {
		return ok(shape.ProtectionJSON(c.path["branch"], r))
	}
	return reply{}, refuse.NotFound("")
}

func projectApprovals(c *call) (reply, error) {
	p := c.project
	return ok(obj{"approvals_before_merge": p.Approvals, "reset_approvals_on_push": p.ResetOnPush, "selective_code_owner_removals": false,
		"disable_overriding_approvers_per_merge_request": false, "merge_requests_author_approval": false, "merge_requests_disable_committers_approval": false,
		"require_password_to_approve": false, "require_reauthentication_to_approve": false, "approvers": []any{}, "approver_groups": []any{}})
}

func approvalRules(c *call) (reply, error) {
	list := []any{}
	if p := c.project; p.Approvals > 0 {
		list = append(list, obj{"id": p.ID, "name": "All Members", "rule_type": "any_approver", "report_type": nil, "eligible_approvers": []any{}, "approvals_required": p.Approvals,
			"users": []any{}, "groups": []any{}, "contains_hidden_groups": false, "protected_branches": []any{}, "applies_to_all_protected_branches": false})
	}
	return page(c, list, true, func(v any) any { return v })
}
