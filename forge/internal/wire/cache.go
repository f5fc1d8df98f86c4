package wire

import (
	"bytes"
	"container/list"
	"io"
	"net/http"
	"sync"
)

// etagCache keeps answers by URL for conditional requests: "not modified" is
// cheap (GitHub does not charge for it), and the forge decides with the
// credential of the request at hand whether the caller may see it. Zero value
// ready.
type etagCache struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	order   list.List // of *cached, least recently used first
	size    int
}

type cached struct {
	key, etag string
	header    http.Header
	body      []byte
}

// keptHeaders are what SDKs read from a repeated answer: its kind, and how lists
// go on.
var keptHeaders = []string{
	"Content-Type", "Link", "X-Page", "X-Per-Page", "X-Prev-Page", "X-Next-Page", "X-Total", "X-Total-Pages", "X-Total-Count",
}

// cacheBytes bounds the bodies kept; larger ones than an eighth are not kept.
const cacheBytes = 16 << 20

func cacheKey(req *http.Request) string { return req.Header.Get("Accept") + " " + req.URL.String() }

// offer returns what is known of the request's answer.
func (c *etagCache) offer(req *http.Request) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[cacheKey(req)]
	if e == nil {
		return nil
	}
	c.order.MoveToBack(e)
	return e.Value.(*cached)
}

// settle turns "not modified" into the known answer and keeps new ones.
func (c *etagCache) settle(req *http.Request, resp *http.Response, known *cached) (*http.Response, error) {
	if resp.StatusCode == http.StatusNotModified && known != nil {
		resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
		for k, v := range known.header {
			if resp.Header.Get(k) == "" {
				resp.Header[k] = v
			}
		}
		resp.Body = io.NopCloser(bytes.NewReader(known.body))
		resp.ContentLength = int64(len(known.body))
		return resp, nil
	}
	etag := resp.Header.Get("ETag")
	if resp.StatusCode != http.StatusOK || etag == "" || resp.ContentLength > cacheBytes/8 {
		return resp, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	h := http.Header{}
	for _, k := range keptHeaders {
		if v := resp.Header.Values(k); len(v) > 0 {
			h[k] = v
		}
	}
	c.keep(&cached{key: cacheKey(req), etag: etag, header: h, body: body})
	return resp, nil
}

func (c *etagCache) keep(n *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]*list.Element{}
	}
	if old := c.entries[n.key]; old != nil {
		c.drop(old)
	}
	c.entries[n.key] = c.order.PushBack(n)
	c.size += len(n.body)
	for c.size > cacheBytes {
		c.drop(c.order.Front())
	}
}

func (c *etagCache) drop(e *list.Element) {
	old := c.order.Remove(e).(*cached)
	delete(c.entries, old.key)
	c.size -= len(old.body)
}
