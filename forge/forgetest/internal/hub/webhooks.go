package hub

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"lockkeeper/forge/forgetest/internal/courier"
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

// Flush lets held deliveries go and waits until all have been answered.
func (s *Hub) Flush(ctx context.Context) error { return s.hooks.Flush(ctx) }

// SetDelivery bends how webhooks arrive from now on; the zero mode is normal.
func (s *Hub) SetDelivery(m courier.Mode) { s.hooks.SetMode(m) }

// Deliveries lists all webhook calls so far, oldest first.
func (s *Hub) Deliveries() []courier.Delivery { return s.hooks.Log() }

// DeliveriesOf lists some webhook calls, newest first.
func (s *Hub) DeliveriesOf(of func(courier.Delivery) bool) []courier.Delivery {
	list := slices.DeleteFunc(s.hooks.Log(), func(d courier.Delivery) bool { return !of(d) })
	slices.Reverse(list)
	return list
}

// Redeliver sends a delivery again under its own GUID, as GitHub does on demand.
func (s *Hub) Redeliver(id int64) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.SendAgain(id)
}

// SendAgain is Redeliver with the lock held.
func (s *Hub) SendAgain(id int64) error { return s.hooks.Again(id, s.NextID(), s.Last, s.address) }

// address points a delivery for an App at where its webhook is now.
func (s *Hub) address(d *courier.Delivery) {
	for _, app := range s.Apps {
		if app.ID == d.App {
			d.URL, d.Secret = app.WebhookURL, app.WebhookSecret
		}
	}
}

// Emit sends an event to the Apps installed on the repository and to the
// repository's own hooks.
func (s *Hub) Emit(r *Repo, event, action string, payload obj) {
	payload["repository"] = s.RepoJSON(r)
	if r.Owner.Kind == "Organization" {
		payload["organization"] = s.OrgJSON(r.Owner)
	}
	for _, app := range s.Apps {
		for _, in := range app.Installations {
			if in.Has(r) && in.Suspend == nil && slices.Contains(app.Events, event) {
				payload["installation"] = obj{"id": in.ID, "node_id": Node("IN", in.ID)}
				s.Post(r, event, action, payload, &courier.Delivery{App: app.ID, URL: app.WebhookURL, Secret: app.WebhookSecret, Installation: in.ID})
			}
		}
	}
	delete(payload, "installation")
	for _, h := range r.Hooks {
		if h.Active && (slices.Contains(h.Events, event) || slices.Contains(h.Events, "*")) {
			s.Post(r, event, action, payload, &courier.Delivery{Hook: h.ID, URL: h.URL, Secret: h.Secret})
		}
	}
}

// Post queues a payload; an App without a webhook gets none.
func (s *Hub) Post(r *Repo, event, action string, payload obj, d *courier.Delivery) {
	if d.URL == "" {
		return
	}
	data, err := json.Marshal(payload)
	if err != nil {
		panic(err) // payloads are made of plain values
	}
	s.checkPayload(event, data)
	d.ID, d.At, d.Event, d.Action, d.Payload = s.NextID(), s.Last, event, action, data
	if r != nil {
		d.Repository = r.ID
	}
	s.hooks.Add(d)
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
