package store

import (
	"context"
	"strings"
	"sync"
	"time"
)

const (
	// sayTimeout bounds telling other replicas, who find it out anyway.
	sayTimeout = 5 * time.Second
	// sayMost is how many bytes go into one message beside the replica's name:
	// PostgreSQL takes fewer than 8000. Who has more to say says lookAround.
	sayMost = 7000

	// What is said: that work changed, with the key that was wanted if it was
	// for that; that a lease was released; that it is too much to say.
	workSaid   = "work "
	leaseSaid  = "lease"
	lookAround = "all"
)

// mouth tells other replicas what was committed, after it was, and without
// keeping anybody waiting: what is said while a message is under way goes with
// the next one.
type mouth struct {
	mu       sync.Mutex
	lines    []string
	speaking bool
	spoken   sync.WaitGroup
}

// announce tells River, the timer, Idle and the runs of keys that work was
// committed, here and elsewhere.
func (s *Store) announce(ctx context.Context, keys ...string) {
	nudge(s.queued)
	nudge(s.planned)
	s.workChanged()
	s.tellRuns(keys)
	if len(keys) == 0 {
		s.say(ctx, workSaid)
	}
	for _, key := range keys {
		s.say(ctx, workSaid+key)
	}
}

// leaseReleased tells the ones who wait for leases, here and elsewhere.
func (s *Store) leaseReleased(ctx context.Context) {
	s.signal(&s.released)
	s.say(ctx, leaseSaid)
}

func (s *Store) workChanged() { s.signal(&s.changed) }

// signal wakes all who wait on a channel.
func (s *Store) signal(c *chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(*c)
	*c = make(chan struct{})
}

// say tells other replicas.
func (s *Store) say(ctx context.Context, line string) {
	if !s.db.Shared() {
		return
	}
	m := &s.mouth
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, line)
	if m.speaking {
		return
	}
	m.speaking = true
	ctx = context.WithoutCancel(ctx)
	m.spoken.Go(func() {
		for message := m.next(); message != ""; message = m.next() {
			s.utter(ctx, message)
		}
	})
}

// next is what there is to say, "" when that is nothing, and the mouth shut.
func (m *mouth) next() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	message := strings.Join(m.lines, "\n")
	if len(message) > sayMost {
		message = lookAround
	}
	m.lines, m.speaking = nil, message != ""
	return message
}

func (s *Store) utter(ctx context.Context, message string) {
	ctx, cancel := context.WithTimeout(ctx, sayTimeout)
	defer cancel()
	if err := s.db.Notify(ctx, s.Replica()+"\n"+message); err != nil {
		s.log.DebugContext(ctx, "cannot tell other replicas, who will find out", "error", err)
	}
}

// listen hears what other replicas say until ctx ends.
func (s *Store) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.db.Listen(ctx, func(message string) { s.hear(ctx, message) })
		if ctx.Err() != nil {
			return
		}
		s.log.WarnContext(ctx, "cannot hear other replicas; looking every second instead, and trying again", "error", err)
		pause(ctx, pollInterval)
	}
}

// hear acts on a message, "" for one that may have been missed.
func (s *Store) hear(ctx context.Context, message string) {
	from, text, _ := strings.Cut(message, "\n")
	if from == s.Replica() {
		return
	}
	var keys []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch key, work := strings.CutPrefix(line, workSaid); {
		case work && key != "":
			keys = append(keys, key)
		case line == leaseSaid:
			s.signal(&s.released)
		case line == lookAround:
			message = ""
		}
	}
	if message == "" {
		s.signal(&s.released)
		if err := s.lookForNews(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "cannot look for news", "error", err)
		}
	}
	nudge(s.queued)
	nudge(s.planned)
	s.workChanged()
	s.tellRuns(keys)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
