package hub

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Hook is a repository's webhook; an App has its own.
type Hook struct {
	ID      int64
	URL     string
	Secret  string
	Events  []string
	Active  bool
	Created time.Time
}

// Delivery is one webhook call, as sent or still waiting.
type Delivery struct {
	ID           int64
	GUID         string // X-GitHub-Delivery
	Event        string
	Action       string
	Payload      []byte
	URL          string
	At           time.Time
	Status       int // what the receiver answered, 0 if nothing yet or no answer
	Answer       string
	Redelivery   bool
	Installation int64
	Repository   int64
	// Dropped is set when a Drop function swallowed it.
	Dropped bool

	App    *App
	Hook   *Hook
	Secret string
	Took   time.Duration
	Header http.Header
}

// DeliveryMode bends how webhooks arrive, for tests.
type DeliveryMode struct {
	// Drop swallows the deliveries it reports true for.
	Drop func(Delivery) bool
	// Copies sends each delivery that many times; 0 and 1 are once.
	Copies int
	// Hold keeps deliveries back until Flush.
	Hold bool
	// Shuffle, if not 0, sends what Hold kept in an order drawn from this seed.
	Shuffle uint64
}

// courier delivers webhooks one after the other in the background.
type courier struct {
	s       *Hub
	mu      sync.Mutex
	cond    *sync.Cond
	queue   []*Delivery
	log     []*Delivery
	mode    DeliveryMode
	busy    bool
	release bool
	closed  bool
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
}

func newCourier(s *Hub) *courier {
	c := &courier{s: s, done: make(chan struct{})}
	c.cond = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancel(context.Background()) // ends with Close
	go c.run()
	return c
}

func (c *courier) close() {
	c.mu.Lock()
	c.closed = true
	c.cancel()
	c.cond.Broadcast()
	c.mu.Unlock()
	<-c.done
}

func (c *courier) add(d *Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, d)
	if c.mode.Drop != nil && c.mode.Drop(*d) {
		d.Dropped = true
		return
	}
	for range max(1, c.mode.Copies) {
		c.queue = append(c.queue, d)
	}
	c.cond.Broadcast()
}

func (c *courier) run() {
	defer close(c.done)
	for {
		c.mu.Lock()
		for !c.closed && (len(c.queue) == 0 || (c.mode.Hold && !c.release)) {
			c.cond.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		d := c.queue[0]
		c.queue, c.busy = c.queue[1:], true
		c.mu.Unlock()
		c.send(d)
		c.mu.Lock()
		c.busy = false
		if len(c.queue) == 0 {
			c.release = false
		}
		c.cond.Broadcast()
		c.mu.Unlock()
	}
}

// patience is how long GitHub waits for a receiver.
const patience = 10 * time.Second

func (c *courier) send(d *Delivery) {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	started := time.Now()
	status, answer := 0, ""
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(d.Payload))
	if err == nil {
		req.Header = d.Header.Clone()
		var res *http.Response
		if res, err = c.s.Client.Do(req); err == nil {
			body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16))
			res.Body.Close()
			status, answer = res.StatusCode, string(body)
		}
	}
	if err != nil {
		answer = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d.Status, d.Answer, d.Took = status, answer, time.Since(started)
}

// Flush lets held deliveries go and waits until all have been answered.
func (s *Hub) Flush(ctx context.Context) error {
	c := s.hooks
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cond.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode.Shuffle != 0 {
		rng := mrand.New(mrand.NewPCG(c.mode.Shuffle, 0))
		rng.Shuffle(len(c.queue), func(i, j int) { c.queue[i], c.queue[j] = c.queue[j], c.queue[i] })
	}
	c.release = len(c.queue) > 0
	c.cond.Broadcast()
	for !c.closed && ctx.Err() == nil && (len(c.queue) > 0 || c.busy) {
		c.cond.Wait()
	}
	return ctx.Err()
}

// SetDelivery bends how webhooks arrive from now on; the zero mode is normal.
func (s *Hub) SetDelivery(m DeliveryMode) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.mode = m
	s.hooks.cond.Broadcast()
}

// Deliveries lists all webhook calls so far, oldest first.
func (s *Hub) Deliveries() []Delivery {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	var list []Delivery
	for _, d := range s.hooks.log {
		list = append(list, *d)
	}
	return list
}

// Redeliver sends a delivery again under its own GUID, as GitHub does on demand.
func (s *Hub) Redeliver(id int64) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.SendAgain(id)
}

// SendAgain is Redeliver with the lock held.
func (s *Hub) SendAgain(id int64) error {
	s.hooks.mu.Lock()
	i := slices.IndexFunc(s.hooks.log, func(d *Delivery) bool { return d.ID == id })
	if i < 0 {
		s.hooks.mu.Unlock()
		return fmt.Errorf("redeliver: no delivery %d", id)
	}
	again := *s.hooks.log[i]
	s.hooks.mu.Unlock()
	again.ID, again.Redelivery, again.Dropped, again.Status, again.At = s.NextID(), true, false, 0, time.Now()
	s.hooks.add(&again)
	return nil
}

// emit sends an event to the Apps installed on the repository and to the
// repository's own hooks.
func (s *Hub) emit(r *Repo, event, action string, payload obj) {
	payload["repository"] = s.RepoJSON(r)
	if r.Owner.Kind == "Organization" {
		payload["organization"] = s.OrgJSON(r.Owner)
	}
	for _, app := range s.Apps {
		for _, in := range app.Installations {
			if in.Has(r) && in.Suspend == nil && slices.Contains(app.Events, event) {
				payload["installation"] = obj{"id": in.ID, "node_id": Node("IN", in.ID)}
				s.Post(r, event, action, payload, &Delivery{App: app, URL: app.WebhookURL, Secret: app.WebhookSecret, Installation: in.ID})
			}
		}
	}
	delete(payload, "installation")
	for _, h := range r.Hooks {
		if h.Active && (slices.Contains(h.Events, event) || slices.Contains(h.Events, "*")) {
			s.Post(r, event, action, payload, &Delivery{Hook: h, URL: h.URL, Secret: h.Secret})
		}
	}
}

// Post signs a payload and queues it; an App without a webhook gets none.
func (s *Hub) Post(r *Repo, event, action string, payload obj, d *Delivery) {
	if d.URL == "" {
		return
	}
	data, err := json.Marshal(payload)
	if err != nil {
		panic(err) // payloads are made of plain values
	}
	s.checkPayload(event, data)
	d.ID, d.GUID, d.Event, d.Action, d.Payload, d.At = s.NextID(), guid(), event, action, data, time.Now()
	target, targetID := "repository", int64(0)
	if r != nil {
		d.Repository, targetID = r.ID, r.ID
	}
	if d.App != nil {
		target, targetID = "integration", d.App.ID
	}
	d.Header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"GitHub-Hookshot/f0f0f0f"}, "Accept": {"*/*"},
		"X-Github-Event": {event}, "X-Github-Delivery": {d.GUID}, "X-Github-Hook-Id": {fmt.Sprint(targetID)},
		"X-Github-Hook-Installation-Target-Type": {target}, "X-Github-Hook-Installation-Target-Id": {fmt.Sprint(targetID)},
	}
	if d.Secret != "" {
		d.Header.Set("X-Hub-Signature-256", Sign(d.Secret, data))
	}
	s.hooks.add(d)
}

func guid() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Sign gives the X-Hub-Signature-256 header for a body.
func Sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// deliveries are newest first.
func (s *Hub) DeliveriesOf(of func(*Delivery) bool) []Delivery {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	var list []Delivery
	for _, d := range slices.Backward(s.hooks.log) {
		if of(d) {
			list = append(list, *d)
		}
	}
	return list
}

// checkPayload holds a webhook payload against the published schemas.
func (s *Hub) checkPayload(event string, body []byte) {
	if s.Schemas == nil {
		return
	}
	var head struct{ Action string }
	if err := json.Unmarshal(body, &head); err != nil {
		s.Opt.Validate(err.Error())
		return
	}
	if err := s.Schemas.Event(event, head.Action, body); err != nil {
		s.Opt.Validate(err.Error())
	}
}
