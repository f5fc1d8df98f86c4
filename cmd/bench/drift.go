package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/proof"
	"lockkeeper/forge/forgetest/bare"
)

const (
	// liveChanges is how many live changes are timed.
	liveChanges = 15
	// watchedObjects is how many objects the memory of a watch is measured with.
	watchedObjects = 30_000
	// newsTimeout bounds the wait for what a watch should tell.
	newsTimeout = time.Minute
)

// drift compares a full check of n objects, of which none drifted, with kubectl
// diff; then it times how long a live change takes to be found, and weighs what
// a watch keeps in memory.
func (b *bench) drift(ctx context.Context, n int) error {
	files := filepath.Join(b.dir, "drift-files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return err
	}
	base := baseFiles(n)
	if err := writeFiles(files, base); err != nil {
		return err
	}
	repo, err := bare.Init(ctx, filepath.Join(b.dir, "drift.git"), "main")
	if err != nil {
		return err
	}
	if _, err := commit(ctx, repo, "main", "", withConfig(base)); err != nil {
		return err
	}
	applied, err := b.applyBase(ctx, repo)
	if err != nil {
		return err
	}
	for _, road := range []struct {
		rtt   time.Duration
		ratio float64
	}{{0, 100}, {30 * time.Millisecond, 1000}} {
		if err := b.compareChecks(ctx, files, n, road.rtt, road.ratio); err != nil {
			return err
		}
	}
	if err := b.timeToFinding(ctx, applied); err != nil {
		return err
	}
	return b.weighWatch(ctx)
}

// compareChecks measures checks from cold: connections, inventory and lists.
func (b *bench) compareChecks(ctx context.Context, files string, n int, rtt time.Duration, ratio float64) error {
	link, err := b.plane.Delay(rtt)
	if err != nil {
		return err
	}
	defer link.Close()
	var took []time.Duration
	var census *cluster.Census
	for range runs {
		start := time.Now()
		c, err := kube.New(kube.Config{Name: "main", REST: link.RESTConfig()})
		if err != nil {
			return err
		}
		if census, err = c.Census(ctx); err != nil {
			return err
		}
		took = append(took, time.Since(start))
		if census.Objects != n || len(census.Suspects)+len(census.Unknown) > 0 {
			return fmt.Errorf("want %d clean objects, the census says %d, suspects %v, unknown %v", n, census.Objects, census.Suspects, census.Unknown)
		}
	}
	ours := median(took)
	start := time.Now()
	if out, err := link.Kubectl(ctx, "diff", "--server-side", "--field-manager", kube.Manager, "-f", files).CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl diff, which should find no difference: %w\n%.2000s", err, out)
	}
	theirs := time.Since(start).Seconds()
	name := func(what string) string {
		return fmt.Sprintf("nothing drifted in %d objects, %s added round trip: %s", n, rtt, what)
	}
	b.report.add(figure{Name: name("full check"), Value: ours, Unit: "s"})
	b.report.add(figure{Name: name("kubectl diff --server-side"), Value: theirs, Unit: "s"})
	b.report.add(figure{Name: name("times faster"), Value: theirs / ours, Unit: "times", Want: ratio})
	b.report.add(figure{Name: name("cluster requests"), Value: float64(census.Stats.Requests), Unit: "requests", Want: 30, AtMost: true})
	b.report.add(figure{Name: name("response bodies"), Value: float64(census.Stats.Bytes), Unit: "bytes"})
	return nil
}

// follow runs a watch until the returned stop is called.
func follow(ctx context.Context, c *kube.Cluster) (news <-chan struct{}, stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	told, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- c.Watch(ctx, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	return told, func() error { cancel(); return <-done }
}

// until takes a census out of memory at each piece of news until it is as wanted.
func until(ctx context.Context, c *kube.Cluster, news <-chan struct{}, wanted func(*cluster.Census) bool) error {
	ctx, cancel := context.WithTimeout(ctx, newsTimeout)
	defer cancel()
	for {
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("the watch does not tell what it should: %w", ctx.Err())
		}
		census, err := c.Census(ctx)
		if err != nil {
			return err
		}
		if census.Stats.Requests == 0 && wanted(census) {
			return nil
		}
	}
}

// timeToFinding changes one live object after another, and waits each time until
// a watch suspects it and the exact check gives the finding.
func (b *bench) timeToFinding(ctx context.Context, applied cluster.Request) error {
	c, err := kube.New(kube.Config{Name: "main", REST: b.plane.RESTConfig()})
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(b.plane.RESTConfig())
	if err != nil {
		return err
	}
	news, stop := follow(ctx, c)
	err = until(ctx, c, news, func(c *cluster.Census) bool { return len(c.Suspects)+len(c.Unknown) == 0 })
	var took []time.Duration
	for i := 0; i < liveChanges && err == nil; i++ {
		start := time.Now()
		// Every len(templates)th object is a ConfigMap, from the first on.
		ref := cluster.Ref{Kind: "ConfigMap", Namespace: "bench", Name: fmt.Sprintf("config-%d", i*len(templates))}
		_, err = api.CoreV1().ConfigMaps(ref.Namespace).Patch(ctx, ref.Name, types.MergePatchType, []byte(`{"data":{"key":"live"}}`), metav1.PatchOptions{})
		if err == nil {
			err = untilFound(ctx, c, news, applied, ref)
		}
		took = append(took, time.Since(start))
	}
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	b.report.add(figure{
		Name:  fmt.Sprintf("one of %d watched objects changed: time to the finding, median", len(applied.Merge)),
		Value: median(took), Unit: "s", Want: 1, AtMost: true,
	})
	return nil
}

// untilFound checks an object once the watch suspects it.
func untilFound(ctx context.Context, c *kube.Cluster, news <-chan struct{}, applied cluster.Request, ref cluster.Ref) error {
	owner := applied.Target.Owner()
	err := until(ctx, c, news, func(census *cluster.Census) bool { return slices.Contains(census.Suspects[owner], ref) })
	if err != nil {
		return err
	}
	report, err := c.Drift(ctx, cluster.DriftRequest{Target: applied.Target, Objects: applied.Merge, Only: []cluster.Ref{ref}})
	if err == nil && len(report.Findings) == 0 {
		err = fmt.Errorf("%s was changed, and the exact check finds nothing: %+v", ref, report)
	}
	return err
}

// weighWatch measures what a watch of many objects keeps in memory, beside what
// its connection takes.
func (b *bench) weighWatch(ctx context.Context) error {
	plane, err := clustertest.Start(ctx, clustertest.Options{})
	if err != nil {
		return err
	}
	defer plane.Stop()
	if err := fillInventory(ctx, plane); err != nil {
		return err
	}
	c, err := kube.New(kube.Config{Name: "many", REST: plane.RESTConfig()})
	if err != nil {
		return err
	}
	before := heap()
	news, stop := follow(ctx, c)
	err = until(ctx, c, news, func(c *cluster.Census) bool {
		return c.Objects == watchedObjects && len(c.Suspects)+len(c.Unknown) == 0
	})
	after := heap()
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	each := float64(after-before) / watchedObjects
	b.report.add(figure{Name: fmt.Sprintf("memory of a watch of %d objects, each", watchedObjects), Value: each, Unit: "bytes", Want: 1024, AtMost: true})
	return nil
}

// heap is what is in use after garbage was collected.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers of the first let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fillInventory makes objects and enters them as an apply would.
func fillInventory(ctx context.Context, plane *clustertest.ControlPlane) error {
	api, err := client.New(client.Config{Name: "many", REST: plane.RESTConfig()})
	if err != nil {
		return err
	}
	if err := inventory.Bootstrap(ctx, api); err != nil {
		return err
	}
	inv, err := inventory.Read(ctx, api)
	if err != nil {
		return err
	}
	entries := make([]inventory.Entry, watchedObjects)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range entries {
		g.Go(func() (err error) { entries[i], err = entered(ctx, api, inv, i); return err })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return inv.Write(context.WithoutCancel(ctx), cluster.Owner{RepoID: 1, Target: "many"}, "0123456789abcdef0123456789abcdef01234567", entries, nil)
}

func entered(ctx context.Context, api *client.Client, inv *inventory.Inventory, i int) (inventory.Entry, error) {
	o := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("settings-of-application-%05d", i), Labels: map[string]string{"app.kubernetes.io/name": fmt.Sprintf("application-%05d", i)},
		},
		Data: map[string]string{"key": "value"},
	}
	made, err := api.Core.ConfigMaps(metav1.NamespaceDefault).Create(ctx, o, metav1.CreateOptions{FieldManager: kube.Manager})
	if err != nil {
		return inventory.Entry{}, err
	}
	ref := cluster.Ref{Kind: "ConfigMap", Namespace: made.Namespace, Name: made.Name}
	digest, err := inv.Digest(&cluster.Object{Ref: ref, Content: map[string]any{"i": i}})
	b := proof.Of(inv.MAC, ref, made, nil)
	return inventory.Entry{
		Ref: ref, APIVersion: "v1", Digest: digest, Revision: "0123456789abcdef0123456789abcdef01234567",
		UID: b.UID, Generation: b.Generation, ResourceVersion: b.ResourceVersion, Meta: b.Meta,
	}, err
}
