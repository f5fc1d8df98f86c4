package rest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/courier"
	"lockkeeper/forge/forgetest/internal/hub"
)

var hookRoutes = []route{
	api.On("GET /app/hook/deliveries", "", "", appDeliveries),
	api.On("GET /app/hook/deliveries/{delivery_id}", "", "", appDelivery),
	api.On("POST /app/hook/deliveries/{delivery_id}/attempts", "", "", redeliverApp),
	api.On("GET /app/hook/config", "", "", appHookConfig),
	api.On("PATCH /app/hook/config", "", "", setAppHookConfig),
	api.On("GET /repos/{owner}/{repo}/hooks", "admin", "repository_hooks:read", listHooks),
	api.On("POST /repos/{owner}/{repo}/hooks", "admin", "repository_hooks:write", createHook),
	api.On("GET /repos/{owner}/{repo}/hooks/{hook_id}/deliveries", "admin", "repository_hooks:read", repoDeliveries),
	api.On("POST /repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts", "admin", "repository_hooks:write", redeliverRepo),
}

func appDeliveries(c *call) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	return deliveryPage(c, c.Hub.DeliveriesOf(func(d courier.Delivery) bool { return d.App == app.ID && listed(c, d) }))
}

// kept is how long GitHub lists a delivery.
const kept = 72 * time.Hour

// listed tells that a delivery has come to its end, well or not, and lately.
func listed(c *call, d courier.Delivery) bool {
	return (d.Done || d.Dropped) && c.Hub.Last.Sub(d.At) < kept
}

// deliveryPage pages by cursor: the id of the delivery to start from.
func deliveryPage(c *call, list []courier.Delivery) reply {
	per, from := 30, 0
	if n, err := strconv.Atoi(c.Query("per_page")); err == nil && n > 0 {
		per = min(n, 100)
	}
	if id, err := strconv.ParseInt(c.Query("cursor"), 10, 64); err == nil {
		from = max(0, slices.IndexFunc(list, func(d courier.Delivery) bool { return d.ID == id }))
	}
	out := []any{}
	for _, d := range list[from:min(from+per, len(list))] {
		out = append(out, deliveryJSON(d))
	}
	if from+per < len(list) {
		c.More("cursor", list[from+per].ID)
	}
	return api.OK(out)
}

func appDelivery(c *call) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	id := api.PathID(c, "delivery_id")
	list := c.Hub.DeliveriesOf(func(d courier.Delivery) bool { return d.App == app.ID && d.ID == id })
	if len(list) == 0 {
		return api.NotFound()
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
	return api.OK(o)
}

func redeliverApp(c *call) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	id := api.PathID(c, "delivery_id")
	if len(c.Hub.DeliveriesOf(func(d courier.Delivery) bool { return d.ID == id && d.App == app.ID && listed(c, d) })) == 0 {
		return api.NotFound()
	}
	return attempt(c)
}

func attempt(c *call) reply {
	if err := c.Hub.SendAgain(api.PathID(c, "delivery_id")); err != nil {
		return api.NotFound()
	}
	return reply{Status: http.StatusAccepted, Body: obj{}}
}

func redeliverRepo(c *call) reply { return attempt(c) }

func appHookConfig(c *call) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	return api.OK(hookConfig(app.WebhookURL))
}

func setAppHookConfig(c *call) reply {
	app, refused := findApp(c)
	if app == nil {
		return refused
	}
	var in struct{ URL, Secret *string }
	if out, good := c.Decode(&in); !good {
		return out
	}
	if in.URL != nil {
		app.WebhookURL = *in.URL
	}
	if in.Secret != nil {
		app.WebhookSecret = *in.Secret
	}
	return api.OK(hookConfig(app.WebhookURL))
}

func listHooks(c *call) reply {
	out := []any{}
	for _, h := range api.Paginate(c, c.Repo.Hooks) {
		out = append(out, hookJSON(c.Hub, c.Repo, h))
	}
	return api.OK(out)
}

func createHook(c *call) reply {
	var in struct {
		Active *bool
		Events []string
		Config struct{ URL, Secret string }
	}
	if out, good := c.Decode(&in); !good {
		return out
	}
	if in.Config.URL == "" {
		return api.Invalid("Hook", "url", "missing_field", "")
	}
	h := &hub.Hook{ID: c.Hub.NextID(), URL: in.Config.URL, Secret: in.Config.Secret, Events: in.Events, Active: in.Active == nil || *in.Active, Created: c.Hub.Tick()}
	if h.Events == nil {
		h.Events = []string{"push"}
	}
	c.Repo.Hooks = append(c.Repo.Hooks, h)
	config := obj{"url": h.URL, "content_type": "json", "insecure_ssl": "0"}
	hookObj := hookJSON(c.Hub, c.Repo, h)
	hookObj["config"] = config
	c.Hub.Post(c.Repo, "ping", "", obj{
		"zen": "Level the water first.", "hook_id": h.ID, "hook": hookObj, "repository": c.Hub.RepoJSON(c.Repo), "sender": c.Hub.UserJSON(c.Actor()),
	}, &courier.Delivery{Hook: h.ID, URL: h.URL, Secret: h.Secret})
	return api.Created(hookJSON(c.Hub, c.Repo, h))
}

func repoDeliveries(c *call) reply {
	id := api.PathID(c, "hook_id")
	return deliveryPage(c, c.Hub.DeliveriesOf(func(d courier.Delivery) bool { return d.Hook == id && listed(c, d) }))
}

func hookConfig(url string) obj {
	return obj{"url": url, "content_type": "json", "insecure_ssl": "0", "secret": "********"}
}

func hookJSON(s *hub.Hub, r *hub.Repo, h *hub.Hook) obj {
	addr := s.APIRepo(r) + "/hooks/" + strconv.FormatInt(h.ID, 10)
	return obj{
		"type": "Repository", "id": h.ID, "name": "web", "active": h.Active, "events": h.Events, "config": hookConfig(h.URL),
		"updated_at": hub.Stamp(h.Created), "created_at": hub.Stamp(h.Created), "url": addr, "test_url": addr + "/test", "ping_url": addr + "/pings",
		"deliveries_url": addr + "/deliveries", "last_response": obj{"code": nil, "status": "unused", "message": nil},
	}
}

func deliveryJSON(d courier.Delivery) obj {
	answer := "OK"
	switch {
	case d.Status == 0:
		answer = "failed to connect to host"
	case d.Status < 200 || d.Status > 299:
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
