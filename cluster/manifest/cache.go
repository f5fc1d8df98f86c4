package manifest

import (
	"container/list"
	"io/fs"
	"sync"

	"lockkeeper/cluster/manifest/closure"
)

const (
	maxRemembered = 5000 // renderings
	maxPerTarget  = 16   // of them for one target
	maxTrees      = 32   // trees whose answers are remembered
)

// cache remembers renderings by target and closure, and what trees answered by
// their root hash. The least recently used go first.
type cache struct {
	mu       sync.Mutex
	order    *list.List // of *cached, most recently used first
	byTarget map[string][]*list.Element
	memos    map[string]*closure.Memo
	roots    []string // of memos, oldest first
}

type cached struct {
	dir string
	*remembered
}

func newCache() *cache {
	return &cache{order: list.New(), byTarget: map[string][]*list.Element{}, memos: map[string]*closure.Memo{}}
}

// tree wraps a file system, with what is known of its answers already.
func (c *cache) tree(fsys fs.FS) *closure.Tree {
	t := closure.NewTree(fsys)
	root := t.Root()
	if root == "" {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, known := c.memos[root]; known {
		t.Memo = m
		return t
	}
	if len(c.roots) == maxTrees {
		delete(c.memos, c.roots[0])
		c.roots = c.roots[1:]
	}
	c.memos[root] = t.Memo
	c.roots = append(c.roots, root)
	return t
}

// find returns a rendering of the target whose closure the tree confirms.
func (c *cache) find(t *closure.Tree, dir string) *remembered {
	c.mu.Lock()
	candidates := append([]*list.Element(nil), c.byTarget[dir]...)
	c.mu.Unlock()
	for i := len(candidates) - 1; i >= 0; i-- {
		hit := candidates[i].Value.(*cached)
		if changed, _ := closure.Changed(hit.closure, t); changed {
			continue
		}
		c.mu.Lock()
		c.order.MoveToFront(candidates[i]) // does nothing if it was dropped meanwhile
		c.mu.Unlock()
		return hit.remembered
	}
	return nil
}

func (c *cache) add(dir string, m *remembered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byTarget[dir]) == maxPerTarget {
		c.drop(c.byTarget[dir][0])
	}
	c.byTarget[dir] = append(c.byTarget[dir], c.order.PushFront(&cached{dir, m}))
	if c.order.Len() > maxRemembered {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	dir := e.Value.(*cached).dir
	c.order.Remove(e)
	kept := c.byTarget[dir][:0:0]
	for _, other := range c.byTarget[dir] {
		if other != e {
			kept = append(kept, other)
		}
	}
	if len(kept) == 0 {
		delete(c.byTarget, dir)
		return
	}
	c.byTarget[dir] = kept
}
