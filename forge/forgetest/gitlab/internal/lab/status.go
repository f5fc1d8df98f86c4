package lab

import (
	"context"
	"net/http"
	"slices"
	"time"

	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

// Pipeline is a set of results for a commit on a branch.
type Pipeline struct {
	ID               int64
	IID              int
	Project          *Project
	SHA, Ref         string
	User             *User
	Statuses         []*Status // oldest first
	Created, Updated time.Time
}

// Status is one result.
type Status struct {
	ID                                  int64
	Pipeline                            *Pipeline
	Name, State, Description, TargetURL string
	User                                *User
	Created, Started, Finished          time.Time
	Retried                             bool
}

// Latest are the results that a later one of the same name has not replaced.
func (p *Pipeline) Latest() []*Status {
	return slices.DeleteFunc(slices.Clone(p.Statuses), func(t *Status) bool { return t.Retried })
}

// Status is what the results amount to.
func (p *Pipeline) Status() string {
	seen := map[string]bool{}
	for _, t := range p.Latest() {
		seen[t.State] = true
	}
	for _, state := range []string{"running", "pending", "failed", "canceled", "success"} {
		if seen[state] {
			return state
		}
	}
	return "skipped"
}

// PipelinesOf lists a commit's pipelines, newest first.
func (p *Project) PipelinesOf(sha string) []*Pipeline {
	var list []*Pipeline
	for _, l := range slices.Backward(p.Pipelines) {
		if l.SHA == sha {
			list = append(list, l)
		}
	}
	return list
}

// HeadPipeline is that of the head, on the source branch, nil without one.
func (m *MR) HeadPipeline() *Pipeline {
	for _, p := range []*Project{m.Source, m.Project} {
		if p == nil {
			continue
		}
		for _, l := range p.PipelinesOf(m.Head()) {
			if l.Ref == m.SourceBranch || l.Ref == m.headRef() {
				return l
			}
		}
	}
	return nil
}

// NewStatus is a result to write.
type NewStatus struct {
	SHA, Ref, State, Name, Description, TargetURL string
}

// SetStatus writes a result, as GitLab's CreateCommitStatusService does: one of the
// same name by the same person that is still running is moved on, and everything
// else becomes a new result, which takes the place of the older.
func (s *Lab) SetStatus(ctx context.Context, p *Project, by *User, in NewStatus) (*Status, error) {
	if !s.May(by, p, Developer) {
		return nil, refuse.Forbidden()
	}
	sha, err := p.Git.Resolve(ctx, in.SHA)
	if err != nil {
		return nil, refuse.NotFound("Commit")
	}
	if !slices.Contains([]string{"pending", "running", "success", "failed", "canceled", "skipped"}, in.State) {
		return nil, refuse.With(http.StatusBadRequest, "state does not have a valid value")
	}
	if len([]rune(in.Description)) > 255 {
		return nil, refuse.With(http.StatusBadRequest, obj{"description": []string{"is too long (maximum is 255 characters)"}})
	}
	if len([]rune(in.Name)) > 255 {
		return nil, refuse.With(http.StatusBadRequest, obj{"name": []string{"is too long (maximum is 255 characters)"}})
	}
	if in.Name == "" {
		in.Name = "default"
	}
	line, err := s.pipeline(ctx, p, by, sha, in.Ref)
	if err != nil {
		return nil, err
	}
	return s.moveOn(line, by, in)
}

// pipeline finds or makes what a result belongs to.
func (s *Lab) pipeline(ctx context.Context, p *Project, by *User, sha, ref string) (*Pipeline, error) {
	for _, l := range p.PipelinesOf(sha) {
		if ref == "" || l.Ref == ref {
			return l, nil
		}
	}
	if ref == "" {
		in := p.Containing(ctx, sha)
		if len(in) == 0 {
			return nil, refuse.NotFound("References for commit")
		}
		ref = in[0]
	}
	l := &Pipeline{ID: s.NextID(), IID: len(p.Pipelines) + 1, Project: p, SHA: sha, Ref: ref, User: by, Created: s.Tick()}
	p.Pipelines = append(p.Pipelines, l)
	return l, nil
}

func (s *Lab) moveOn(line *Pipeline, by *User, in NewStatus) (*Status, error) {
	at := s.Tick()
	var t *Status
	for _, old := range line.Statuses {
		if old.Name == in.Name && old.User == by && (old.State == "pending" || old.State == "running") {
			t = old
		}
	}
	if t != nil && t.State == in.State {
		event := map[string]string{"pending": "enqueue", "running": "run"}[in.State]
		return nil, refuse.With(http.StatusBadRequest, `Cannot transition status via :`+event+` from :`+in.State+` (Reason(s): Status cannot transition via "`+event+`")`)
	}
	if t == nil {
		for _, old := range line.Statuses {
			if old.Name == in.Name {
				old.Retried = true
			}
		}
		t = &Status{ID: s.NextID(), Pipeline: line, Name: in.Name, User: by, Created: at}
		line.Statuses = append(line.Statuses, t)
	}
	t.State, t.Description, t.TargetURL = in.State, in.Description, in.TargetURL
	switch in.State {
	case "running":
		t.Started = at
	case "success", "failed", "canceled":
		t.Finished = at
	}
	line.Updated = at
	s.TellPipeline(line, by)
	return t, nil
}
