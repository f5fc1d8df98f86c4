package bypass

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
	"lockkeeper/bot/trail"
	"lockkeeper/forge"
)

// report keeps the branch's issue in step with what is open: there is
// one while anything is, and it is closed with the last of it. A repository
// without issues, or without our permission for them, has the audit trail.
func (w *Watcher) report(ctx context.Context, at *watched, open []store.Bypass) error {
	issues, err := w.Forge.Issues(ctx, at.op.Ref())
	if unwelcome(err) {
		w.Log.WarnContext(ctx, "cannot report on the branch as an issue", trail.Repo, at.op.Name, "branch", at.name, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	v := report.Bypasses{Key: fmt.Sprintf("branch/%d/%s", at.op.ID, at.name), Branch: at.name}
	for _, f := range open {
		v.Commits = append(v.Commits, report.BypassCommit{
			SHA: f.SHA, Subject: f.Subject, By: f.By.Login, Found: f.Found, Lost: f.Lost, Targets: f.Targets, Files: f.Files,
		})
	}
	body, err := v.Body(w.Forge.Limits().Comment)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(issues, func(i forge.Issue) bool { return strings.HasPrefix(i.Body, report.Marker(v.Key, 1)) })
	switch {
	case i < 0 && len(open) == 0:
		return nil
	case i < 0:
		issue, err := w.Forge.CreateIssue(ctx, at.op.Ref(), v.Title(), body)
		if err != nil {
			return err
		}
		return w.note(ctx, at, open, issue.Number)
	case issues[i].Body != body:
		_, err = w.Forge.UpdateIssue(ctx, at.op.Ref(), issues[i].Number, forge.IssueEdit{Body: &body, Close: len(open) == 0})
	}
	return errors.Join(err, w.note(ctx, at, open, issues[i].Number))
}

// unwelcome reports that a repository has no issues for us.
func unwelcome(err error) bool {
	return err != nil && (forge.CodeOf(err) == forge.NotFound || forge.CodeOf(err) == forge.Forbidden)
}

func (w *Watcher) note(ctx context.Context, at *watched, open []store.Bypass, issue int) error {
	for _, f := range open {
		if f.Issue == issue {
			continue
		}
		if err := ended(w.Store.SetBypassIssue(ctx, at.op.ID, at.name, f.SHA, issue)); err != nil {
			return err
		}
	}
	return nil
}
