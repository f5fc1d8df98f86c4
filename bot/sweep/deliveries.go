package sweep

import (
	"context"
	"sync"
	"time"

	"lockkeeper/forge"
)

// DeliveriesKey is the work key of the look for webhooks that did not reach us.
// There is one for the whole App, whichever replica takes it.
const DeliveriesKey = "deliveries"

const (
	// keptFor is how long GitHub keeps what it sent.
	keptFor = 3 * 24 * time.Hour
	// overlap is how far a look goes back behind the one before it: a delivery is
	// listed once its attempt has ended.
	overlap = 15 * time.Minute
	// maxAttempts is after how many failures a delivery is given up. What it would
	// have told is found by sweeping, or is lost for good.
	maxAttempts = 5
	// maxAgain bounds what one look has sent again, and so the calls it makes.
	maxAgain = 500
)

// attempts is what this process remembers between two looks.
type attempts struct {
	mu     sync.Mutex
	looked time.Time      // when the last look began, zero before the first
	asked  map[string]int // how often a delivery was asked for, by GUID
}

// Deliveries has GitHub send again what it could not deliver in the last three
// days, which it never does by itself. Most of that is found by sweeping too; what
// no list of open pulls shows, such as commands on merged pulls and the groups of a
// merge queue, is not. Where the forge does not tell, nothing is planned.
//
// A process remembers how far it looked. The first look of each, and each that
// failed, goes back all three days: what was delivered meanwhile is settled by
// its GUID, and what comes twice is taken once (store.AddDelivery).
func (s *Sweeper) Deliveries(ctx context.Context) error {
	s.attempts.mu.Lock()
	defer s.attempts.mu.Unlock()
	now := s.Now()
	since := now.Add(-keptFor)
	if last := s.attempts.looked.Add(-overlap); last.After(since) {
		since = last
	}
	failed, told, err := s.Forge.FailedDeliveries(ctx, since)
	if err != nil || !told {
		return err
	}
	sent := 0
	for _, d := range failed {
		if sent == maxAgain {
			break
		}
		again, err := s.again(ctx, d)
		if err != nil {
			return err
		}
		if again {
			sent++
		}
	}
	if sent > 0 {
		s.Log.InfoContext(ctx, "webhook deliveries that had failed are sent again", "deliveries", sent)
	}
	if s.attempts.looked = now; sent == maxAgain {
		s.attempts.looked = time.Time{} // the others are at the next look
	}
	return s.Store.WantAt(ctx, DeliveriesKey, now.Add(time.Duration(s.Server.Load().Sweep)))
}

// again asks for another attempt of a delivery that concerns a repository of the
// server file, unless too many failed.
func (s *Sweeper) again(ctx context.Context, d forge.Delivery) (bool, error) {
	if _, ours := s.Server.Load().Repository(d.RepoID); !ours {
		return false, nil
	}
	if max(d.Attempts, s.attempts.asked[d.GUID]+1) >= maxAttempts {
		return false, nil
	}
	err := s.Forge.Redeliver(ctx, d.ID)
	if forge.CodeOf(err) == forge.NotFound {
		return false, nil // too old by now
	}
	if err != nil {
		return false, err
	}
	if s.attempts.asked == nil || len(s.attempts.asked) > 20*maxAgain {
		s.attempts.asked = map[string]int{}
	}
	s.attempts.asked[d.GUID]++
	return true, nil
}
