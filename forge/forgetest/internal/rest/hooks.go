package rest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"lockkeeper/forge/forgetest/internal/hub"
)

var hookRoutes = []route{
	{"GET /app/hook/deliveries", "", "", appDeliveries},
	{"GET /app/hook/deliveries/{delivery_id}", "", "", appDelivery},
	{"POST /app/hook/deliveries/{delivery_id}/attempts", "", "", redeliverApp},
	{"GET /app/hook/config", "", "", appHookConfig},
	{"PATCH /app/hook/config", "", "", setAppHookConfig},
	{"GET /repos/{owner}/{repo}/hooks", "admin", "repository_hooks:read", listHooks},
	{"POST /repos/{owner}/{repo}/hooks", "admin", "repository_hooks:write", createHook},
	{"GET /repos/{owner}/{repo}/hooks/{hook_id}/deliveries", "admin", "repository_hooks:read", repoDeliveries},
	{"POST /repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts", "admin", "repository_hooks:write", redeliverRepo},
}

func appDeliveries(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	return c.deliveryPage(c.s.DeliveriesOf(func(d *hub.Delivery) bool { return d.App == app }))
}

// deliveryPage pages by cursor: the id of the delivery to start from.
func (c *call) deliveryPage(list []hub.Delivery) reply {
	per, from := 30, 0
	if n, err := strconv.Atoi(c.query("per_page")); err == nil && n > 0 {
		per = min(n, 100)
	}
	if id, err := strconv.ParseInt(c.query("cursor"), 10, 64); err == nil {
		from = max(0, slices.IndexFunc(list, func(d hub.Delivery) bool { return d.ID == id }))
	}
	out := []any{}
	for _, d := range list[from:min(from+per, len(list))] {
		out = append(out, deliveryJSON(d))
	}
	if from+per < len(list) {
		c.page = &paging{cursor: "cursor", after: list[from+per].ID}
	}
	return ok(out)
}

func appDelivery(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	id := pathID(c, "delivery_id")
	list := c.s.DeliveriesOf(func(d *hub.Delivery) bool { return d.App == app && d.ID == id })
	if len(list) == 0 {
		return notFound()
	}
	d := list[0]
	o := deliveryJSON(d)
	headers := obj{}
	for k := range d.Header {
		headers[k] = d.Header.Get(k)
	}
	o["url"] = d.URL
	o["request"] = obj{"headers": headers, "payload": json.RawMessage(d.Payload)}
	o["response"] = obj{"headers": obj{}, "payload": d.Answer}
	return ok(o)
}

func redeliverApp(c *call) reply {
	if app, refused := c.app(); app == nil {
		return refused
	}
	return c.attempt()
}

func (c *call) attempt() reply {
	if err := c.s.SendAgain(pathID(c, "delivery_id")); err != nil {
		return notFound()
	}
	return reply{status: http.StatusAccepted, body: obj{}}
}

func redeliverRepo(c *call) reply { return c.attempt() }

func appHookConfig(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	return ok(hookConfig(app.WebhookURL))
}

func setAppHookConfig(c *call) reply {
	app, refused := c.app()
	if app == nil {
		return refused
	}
	var in struct{ URL, Secret *string }
	if out, good := c.decode(&in); !good {
		return out
	}
	if in.URL != nil {
		app.WebhookURL = *in.URL
	}
	if in.Secret != nil {
		app.WebhookSecret = *in.Secret
	}
	return ok(hookConfig(app.WebhookURL))
}

func listHooks(c *call) reply {
	out := []any{}
	for _, h := range paginate(c, c.repo.Hooks) {
		out = append(out, c.s.hookJSON(c.repo, h))
	}
	return ok(out)
}

func createHook(c *call) reply {
	var in struct {
		Active *bool
		Events []string
		Config struct{ URL, Secret string }
	}
	if out, good := c.decode(&in); !good {
		return out
	}
	if in.Config.URL == "" {
		return invalid("Hook", "url", "missing_field", "")
	}
	h := &hub.Hook{ID: c.s.NextID(), URL: in.Config.URL, Secret: in.Config.Secret, Events: in.Events, Active: in.Active == nil || *in.Active, Created: c.s.Tick()}
	if h.Events == nil {
		h.Events = []string{"push"}
	}
	c.repo.Hooks = append(c.repo.Hooks, h)
	config := obj{"url": h.URL, "content_type": "json", "insecure_ssl": "0"}
	hookObj := c.s.hookJSON(c.repo, h)
	hookObj["config"] = config
	c.s.Post(c.repo, "ping", "", obj{
		"zen": "Level the water first.", "hook_id": h.ID, "hook": hookObj, "repository": c.s.RepoJSON(c.repo), "sender": c.s.UserJSON(c.actor()),
	}, &hub.Delivery{Hook: h, URL: h.URL, Secret: h.Secret})
	return created(c.s.hookJSON(c.repo, h))
}

func repoDeliveries(c *call) reply {
	id := pathID(c, "hook_id")
	return c.deliveryPage(c.s.DeliveriesOf(func(d *hub.Delivery) bool { return d.Hook != nil && d.Hook.ID == id && time.Since(d.At) < 72*time.Hour }))
}

func (s *API) reactionJSON(r *hub.Reaction) obj {
	return obj{"id": r.ID, "node_id": hub.Node("REA", r.ID), "user": s.UserJSON(r.User), "content": r.Content, "created_at": hub.Stamp(r.Created)}
}

func hookConfig(url string) obj {
	return obj{"url": url, "content_type": "json", "insecure_ssl": "0", "secret": "********"}
}

func (s *API) hookJSON(r *hub.Repo, h *hub.Hook) obj {
	api := s.APIRepo(r) + "/hooks/" + strconv.FormatInt(h.ID, 10)
	return obj{
		"type": "Repository", "id": h.ID, "name": "web", "active": h.Active, "events": h.Events, "config": hookConfig(h.URL),
		"updated_at": hub.Stamp(h.Created), "created_at": hub.Stamp(h.Created), "url": api, "test_url": api + "/test", "ping_url": api + "/pings",
		"deliveries_url": api + "/deliveries", "last_response": obj{"code": nil, "status": "unused", "message": nil},
	}
}

func deliveryJSON(d hub.Delivery) obj {
	answer := "OK"
	if d.Status < 200 || d.Status > 299 {
		answer = "Invalid HTTP Response: " + strconv.Itoa(d.Status)
	}
	o := obj{
		"id": d.ID, "guid": d.GUID, "delivered_at": hub.Stamp(d.At), "redelivery": d.Redelivery, "duration": d.Took.Seconds(), "status": answer,
		"status_code": d.Status, "event": d.Event, "action": hub.OrNil(d.Action), "installation_id": nil, "repository_id": nil, "throttled_at": nil,
	}
	if d.Installation != 0 {
		o["installation_id"] = d.Installation
	}
	if d.Repository != 0 {
		o["repository_id"] = d.Repository
	}
	return o
}
