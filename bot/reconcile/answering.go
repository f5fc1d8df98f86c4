package reconcile

import (
	"slices"

	"lockkeeper/bot/report"
)

// Answering is what was decided on a command. It is stored with what its reply
// says was done, so that a process that takes over says the same and does not do
// it again: to it the command would be another one, such as a second /unlock.
type Answering struct {
	Command string       `json:"command"` // its ID
	Reply   report.Reply `json:"reply"`
	// Duties are closed before the reply.
	Duties []CloseDuty `json:"duties,omitempty"`
}

// Resolve remembers the reply that actions lead to. It reports whether that has
// to be stored before the first of them is carried out, because they change more
// than the memory of the pull.
func (m *Memory) Resolve(actions []Action) bool {
	if len(actions) == 0 {
		return false
	}
	last, ok := actions[len(actions)-1].(Answer)
	if !ok {
		return false
	}
	now := Answering{Command: last.Command.ID(), Reply: last.Reply}
	for _, a := range actions {
		if d, ok := a.(CloseDuty); ok {
			now.Duties = append(now.Duties, d)
		}
	}
	m.Answering = &now
	return len(now.Duties) > 0
}

// Answered forgets what is kept of a command until it has its reply.
func (m *Memory) Answered(c Command) {
	m.Prepared = slices.DeleteFunc(m.Prepared, func(id string) bool { return id == c.ID() })
	if m.Answering != nil && m.Answering.Command == c.ID() {
		m.Answering = nil
	}
}

// Prepare remembers that what has to happen before a command's plan did: an
// admission, a draft's being asked for, the choice of a sync.
func (m *Memory) Prepare(c Command) {
	if !m.IsPrepared(c) {
		m.Prepared = append(m.Prepared, c.ID())
	}
}

// IsPrepared reports whether it is remembered.
func (m *Memory) IsPrepared(c Command) bool { return slices.Contains(m.Prepared, c.ID()) }

// resolved is what is left of a command on which was decided before, nil of any
// other.
func (s *State) resolved(c Command) []Action {
	a := s.Memory.Answering
	if a == nil || a.Command != c.ID() {
		return nil
	}
	var out []Action
	for _, d := range a.Duties {
		out = append(out, d)
	}
	return append(out, Answer{Command: c, Reply: a.Reply})
}
