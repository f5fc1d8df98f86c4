// Package courier delivers the webhooks of the look-alikes: one after the other,
// never twice by itself, and listed for redelivery; signed as GitHub signs, or with
// the headers that another forge gives.
package courier

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

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
	// Dropped is set when a Drop function swallowed it, Done when it was sent.
	Dropped, Done bool

	// App or Hook is the number of whom it is for; the other is 0.
	App, Hook int64
	Secret    string
	Took      time.Duration
	Header    http.Header
}

// Mode bends how webhooks arrive, for tests.
type Mode struct {
	// Drop swallows the deliveries it reports true for.
	Drop func(Delivery) bool
	// Copies sends each delivery that many times; 0 and 1 are once.
	Copies int
	// Hold keeps deliveries back until Flush.
	Hold bool
	// Shuffle, if not 0, sends what Hold kept in an order drawn from this seed.
	Shuffle uint64
}

// Courier delivers webhooks one after the other in the background.
type Courier struct {
	client  *http.Client
	mu      sync.Mutex
	cond    *sync.Cond
	queue   []*Delivery
	log     []*Delivery
	mode    Mode
	busy    bool
	release bool
	closed  bool
	watch   func(Delivery)
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
}

// New starts a courier that sends with client.
func New(client *http.Client) *Courier {
	c := &Courier{client: client, done: make(chan struct{})}
	c.cond = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancel(context.Background()) // ends with Close
	go c.run()
	return c
}

// Close ends what is under way and forgets the rest.
func (c *Courier) Close() {
	c.mu.Lock()
	c.closed = true
	c.cancel()
	c.cond.Broadcast()
	c.mu.Unlock()
	<-c.done
}

// Add signs a delivery and queues it. At is when it happened.
func (c *Courier) Add(d *Delivery) {
	d.GUID = guid()
	d.Header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"GitHub-Hookshot/f0f0f0f"}, "Accept": {"*/*"},
		"X-Github-Event": {d.Event}, "X-Github-Delivery": {d.GUID},
	}
	target, id := "repository", d.Repository
	if d.App != 0 {
		target, id = "integration", d.App
	}
	d.Header.Set("X-GitHub-Hook-ID", fmt.Sprint(id))
	d.Header.Set("X-GitHub-Hook-Installation-Target-Type", target)
	d.Header.Set("X-GitHub-Hook-Installation-Target-ID", fmt.Sprint(id))
	d.sign()
	c.enqueue(d)
}

// Queue sends a delivery with the headers that it has.
func (c *Courier) Queue(d *Delivery) { c.enqueue(d) }

// Watch has f told of every delivery that was answered, or could not be. It is set
// before the first delivery.
func (c *Courier) Watch(f func(Delivery)) { c.watch = f }

func (d *Delivery) sign() {
	if d.Secret != "" {
		d.Header.Set("X-Hub-Signature-256", Sign(d.Secret, d.Payload))
	}
}

func (c *Courier) enqueue(d *Delivery) {
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

func (c *Courier) run() {
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

func (c *Courier) send(d *Delivery) {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	started := time.Now()
	status, answer := 0, ""
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(d.Payload))
	if err == nil {
		req.Header = d.Header.Clone()
		var res *http.Response
		if res, err = c.client.Do(req); err == nil {
			body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16))
			res.Body.Close()
			status, answer = res.StatusCode, string(body)
		}
	}
	if err != nil {
		answer = err.Error()
	}
	c.mu.Lock()
	d.Status, d.Answer, d.Took, d.Done = status, answer, time.Since(started), true
	sent := *d
	c.mu.Unlock()
	if c.watch != nil {
		c.watch(sent)
	}
}

// Flush lets held deliveries go and waits until all have been answered.
func (c *Courier) Flush(ctx context.Context) error {
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

// SetMode bends how webhooks arrive from now on; the zero mode is normal.
func (c *Courier) SetMode(m Mode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mode = m
	c.cond.Broadcast()
}

// Log lists all deliveries so far, oldest first.
func (c *Courier) Log() []Delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Delivery
	for _, d := range c.log {
		list = append(list, *d)
	}
	return list
}

// Again sends a delivery once more, under its own GUID and the number newID, to
// where address says.
func (c *Courier) Again(id, newID int64, at time.Time, address func(*Delivery)) error {
	c.mu.Lock()
	i := slices.IndexFunc(c.log, func(d *Delivery) bool { return d.ID == id })
	if i < 0 {
		c.mu.Unlock()
		return fmt.Errorf("redeliver: no delivery %d", id)
	}
	again := *c.log[i]
	c.mu.Unlock()
	address(&again)
	again.Header = again.Header.Clone()
	again.sign()
	again.ID, again.Redelivery, again.Dropped, again.Done, again.Status, again.At = newID, true, false, false, 0, at
	c.enqueue(&again)
	return nil
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
