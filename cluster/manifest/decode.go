package manifest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lockkeeper/cluster/manifest/closure"
	"lockkeeper/cluster/manifest/document"
)

// Plain files are decoded one by one, in children as everything that outsiders
// wrote, and what was found in them is remembered by path and content: two
// trees that differ in three files decode three of them twice.

// content is what is in one file.
type content struct {
	result
	answer string // digest of the tree's answer
	size   int    // in bytes
}

// decoding is a file that is being decoded; content and err hold once done is
// closed.
type decoding struct {
	done chan struct{}
	content
	err error // why nothing is known
}

// fileKey names a file's content at a path, which problems and sources name.
type fileKey struct{ path, object string }

// decoded remembers files in two generations: when the young one is full it
// becomes the old one, and what nobody asked for meanwhile is gone.
type decoded struct {
	mu         sync.Mutex
	young, old map[fileKey]*decoding
	bytes      int // of the young generation
}

// maxDecoded is how many bytes of files one generation holds. Decoded, they
// need several times as much.
const maxDecoded = 16 << 20

// claim returns what is known, or is being found out, of a file. mine is set
// if nobody is at it: then the caller decodes it and calls settle.
func (d *decoded) claim(k fileKey) (entry *decoding, mine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e, known := d.young[k]; known {
		return e, false
	}
	if e, known := d.old[k]; known {
		d.keep(k, e)
		return e, false
	}
	e := &decoding{done: make(chan struct{})}
	d.keep(k, e)
	return e, true
}

func (d *decoded) keep(k fileKey, e *decoding) {
	if d.young == nil || d.bytes > maxDecoded {
		d.old, d.young, d.bytes = d.young, map[fileKey]*decoding{}, 0
	}
	d.young[k] = e
	d.bytes += e.size
}

// settle ends a claim. One that failed is forgotten, for the next to try.
func (d *decoded) settle(k fileKey, e *decoding, c content, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e.content, e.err = c, err
	d.bytes += e.size
	if err != nil {
		for _, generation := range []map[fileKey]*decoding{d.young, d.old} {
			if generation[k] == e {
				delete(generation, k)
			}
		}
	}
	close(e.done)
}

// allowance is what one rendering may still use.
type allowance struct {
	time  atomic.Int64 // nanoseconds of children
	bytes atomic.Int64 // of files
}

// batch is some files that go to a child together.
type batch struct {
	keys    []fileKey
	entries []*decoding
}

// maxBatch is how many files are decoded in one go: if each is as large as can
// be, they still fit into a frame.
const maxBatch = 24

// decode finds out what is in files of a tree, in their order. Those that
// another rendering is decoding at this moment are waited for.
func (r *Renderer) decode(ctx context.Context, t *closure.Tree, files []string) ([]*decoding, error) {
	var left allowance
	left.time.Store(int64(r.limits.Timeout))
	left.bytes.Store(MaxBytes)
	entries := make([]*decoding, len(files))
	g, gctx := errgroup.WithContext(ctx)
	var b batch
	flush := func() {
		if some := b; len(some.keys) > 0 {
			g.Go(func() error { return r.decodeBatch(gctx, t, some, &left) })
		}
		b = batch{}
	}
	for i, path := range files {
		k := fileKey{path, t.Object(path)}
		if k.object == "" { // the tree knows no hashes: nothing to remember it by
			entries[i] = &decoding{done: make(chan struct{})}
			b.keys, b.entries = append(b.keys, k), append(b.entries, entries[i])
		} else if e, mine := r.decoded.claim(k); mine {
			entries[i] = e
			b.keys, b.entries = append(b.keys, k), append(b.entries, e)
		} else {
			entries[i] = e
		}
		if len(b.keys) == maxBatch {
			flush()
		}
	}
	flush()
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return entries, r.await(ctx, t, files, entries, &left)
}

// await waits for what other renderings are decoding. Where one of them failed,
// for example because its caller went away, the file is decoded here.
func (r *Renderer) await(ctx context.Context, t *closure.Tree, files []string, entries []*decoding, left *allowance) error {
	for i := range entries {
		for {
			select {
			case <-entries[i].done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if entries[i].err == nil {
				break
			}
			k := fileKey{files[i], t.Object(files[i])}
			e, mine := r.decoded.claim(k)
			entries[i] = e
			if mine {
				if err := r.decodeBatch(ctx, t, batch{[]fileKey{k}, []*decoding{e}}, left); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// decodeBatch reads files and has a child decode them.
func (r *Renderer) decodeBatch(ctx context.Context, t *closure.Tree, b batch, left *allowance) error {
	contents, err := r.tryBatch(ctx, t, b, left)
	if err != nil {
		contents = make([]content, len(b.keys))
	}
	for i, k := range b.keys {
		r.decoded.settle(k, b.entries[i], contents[i], err)
	}
	return err
}

func (r *Renderer) tryBatch(ctx context.Context, t *closure.Tree, b batch, left *allowance) ([]content, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	paths := make([]string, len(b.keys))
	for i, k := range b.keys {
		paths[i] = k.path
	}
	answers, err := t.ReadAll(paths)
	if err != nil {
		return nil, err
	}
	out := make([]content, len(answers))
	var o order
	var data []byte
	var sent []int // which of the files the child gets
	for i, a := range answers {
		out[i].answer, out[i].size = t.Remember(closure.Read, paths[i], a), len(a.Data)
		if left.bytes.Add(-int64(len(a.Data))) < 0 {
			return nil, fmt.Errorf("its files hold more than %d MiB together; split the target", MaxBytes>>20)
		}
		if a.Kind == closure.Large {
			out[i].problems = []Problem{{Path: paths[i], Message: document.TooLarge}}
			continue
		}
		o.Files = append(o.Files, sized{paths[i], len(a.Data)})
		data = append(data, a.Data...)
		sent = append(sent, i)
	}
	if len(sent) == 0 {
		return out, nil
	}
	results, err := r.decodeIn(ctx, o, data, left)
	if err != nil {
		return nil, err
	}
	for n, i := range sent {
		out[i].result = results[n]
	}
	return out, nil
}

// decodeIn has a child decode files, within what is left of the budget.
func (r *Renderer) decodeIn(ctx context.Context, o order, data []byte, left *allowance) ([]result, error) {
	c, err := r.child(ctx)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	results, _, err := c.work(ctx, nil, o, data, time.Duration(left.time.Load()), r.limits)
	left.time.Add(-int64(time.Since(begun)))
	if err == nil && len(results) != len(o.Files) {
		err = errDied
	}
	if err != nil {
		c.kill()
		return nil, err
	}
	r.release(c, false)
	return results, nil
}

// decodeFile is the child's part: what is in one file.
func decodeFile(path string, data []byte) outcome {
	c := newCollector()
	docs, problems := document.Decode(path, data)
	c.problems = problems
	for _, d := range docs {
		c.add(d.Value, place{path, d.Line, d.Node})
	}
	return outcome{Objects: c.objects, Problems: c.problems}
}
