package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"lockkeeper/bot/store"
	"lockkeeper/bot/store/pgtest"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cmd/internal/child"
	"lockkeeper/cmd/internal/fault"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/forge/forgetest"
)

// sweep is how often the bot looks for what webhooks did not tell it.
const sweep = 5 * time.Second

// world is everything that runs.
type world struct {
	diary    *diary
	dir      string // logs and kubeconfigs
	binary   string
	plane    *clustertest.ControlPlane
	api      kubernetes.Interface // of the administrator, by a good road
	postgres *pgtest.Server       // nil on SQLite
	house    *house.House
	replicas []*replica
	door     *fault.Link // from the forge to any replica
	store    *store.Store
	turn     atomic.Uint64 // which replica takes the next connection
	busy     sync.Mutex    // held while the API server is ended and started
}

// replica is one lockkeeper and its roads.
type replica struct {
	name, config, log     string
	binary                string
	forge, store, cluster *fault.Link
	busy                  sync.Mutex // held while it is ended and started

	mu      sync.Mutex
	process *child.Process // nil while there is none
	address string         // of its door
	stopped bool
}

// build starts everything. The world it returns is to be closed even when
// there is an error.
func build(ctx context.Context, o options, d *diary) (*world, error) {
	w := &world{diary: d}
	var err error
	if w.dir, err = os.MkdirTemp("", "lockkeeper-soak-"); err != nil {
		return w, err
	}
	if err := d.keep(w.dir); err != nil {
		return w, err
	}
	bin, err := clustertest.Binaries(ctx, os.Stderr)
	if err != nil {
		return w, err
	}
	if w.binary, err = child.Build(ctx, bin); err != nil {
		return w, err
	}
	if w.plane, err = clustertest.Start(ctx, clustertest.Options{Context: house.Cluster}); err != nil {
		return w, err
	}
	if w.api, err = kubernetes.NewForConfig(w.plane.RESTConfig()); err != nil {
		return w, err
	}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := w.api.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		return w, err
	}
	database := ""
	if !o.sqlite {
		if w.postgres, err = pgtest.Start(ctx, ""); err != nil {
			return w, err
		}
		if database, err = w.postgres.Database(ctx); err != nil {
			return w, err
		}
	}
	w.house, err = house.Found(ctx, house.Options{
		Binary: w.binary, Plane: w.plane, Store: database, Sweep: sweep,
		Repo: forgetest.NewRepo{Owner: "acme", Name: "shop", Files: firstFiles()},
	})
	if err != nil {
		return w, err
	}
	return w, w.staff(ctx, o.replicas)
}

// staff starts the replicas and leads webhooks to them.
func (w *world) staff(ctx context.Context, n int) (err error) {
	if w.postgres != nil {
		if err := homeless(ctx, w.house.Database()); err != nil {
			return err
		}
	}
	for i := range n {
		r, err := w.hire(ctx, string(rune('a'+i)))
		if err != nil {
			return err
		}
		w.replicas = append(w.replicas, r)
		within, cancel := context.WithTimeout(ctx, time.Minute)
		err = r.start(within)
		cancel()
		if err != nil {
			return fmt.Errorf("replica %s does not start, see %s: %w", r.name, r.log, err)
		}
	}
	if w.door, err = fault.NewLink(ctx, w.anyDoor); err != nil {
		return err
	}
	w.house.Hook(w.door.Address())
	w.store, err = store.Open(ctx, w.house.Database(), store.Options{})
	return err
}

// homeless makes the database forget which forge it is for: the roads lead to one
// forge, by another address for each replica, which it would refuse.
func homeless(ctx context.Context, database string) error {
	s, err := store.Open(ctx, database, store.Options{}) // makes the tables
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE RULE homeless AS ON INSERT TO home DO INSTEAD NOTHING")
	return errors.Join(err, conn.Close(ctx))
}

// hire makes the roads and the operator's file of a replica.
func (w *world) hire(ctx context.Context, name string) (*replica, error) {
	r := &replica{name: name, binary: w.binary, log: filepath.Join(w.dir, "replica-"+name+".log")}
	road := house.Road{Store: w.house.Database(), Kubeconfig: filepath.Join(w.dir, "kubeconfig-"+name)}
	forgeURL, err := url.Parse(w.house.Forge.URL)
	if err != nil {
		return nil, err
	}
	if r.forge, err = fault.NewLink(ctx, fault.To("tcp", forgeURL.Host)); err != nil {
		return nil, err
	}
	road.Forge = "http://" + r.forge.Address()
	if r.cluster, err = w.roadToCluster(ctx, road.Kubeconfig); err != nil {
		return nil, err
	}
	if w.postgres != nil {
		if r.store, road.Store, err = roadToDatabase(ctx, road.Store); err != nil {
			return nil, err
		}
	}
	r.config, err = w.house.Configure(name, road)
	return r, err
}

// roadToCluster writes a kubeconfig that leads over a new link.
func (w *world) roadToCluster(ctx context.Context, file string) (*fault.Link, error) {
	config, err := clientcmd.LoadFromFile(w.plane.Kubeconfig)
	if err != nil {
		return nil, err
	}
	c := config.Clusters[house.Cluster]
	server, err := url.Parse(c.Server)
	if err != nil {
		return nil, err
	}
	l, err := fault.NewLink(ctx, fault.To("tcp", server.Host))
	if err != nil {
		return nil, err
	}
	c.Server = "https://" + l.Address()
	return l, clientcmd.WriteToFile(*config, file)
}

// roadToDatabase makes a link to a PostgreSQL and returns the URL over it.
func roadToDatabase(ctx context.Context, database string) (*fault.Link, string, error) {
	config, err := pgx.ParseConfig(database)
	if err != nil {
		return nil, "", err
	}
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	l, err := fault.NewLink(ctx, fault.To(network, address))
	if err != nil {
		return nil, "", err
	}
	// The link is plain TCP, whatever the server offers.
	u := url.URL{Scheme: "postgres", User: url.UserPassword(config.User, config.Password), Host: l.Address(), Path: config.Database, RawQuery: "sslmode=disable"}
	if config.Password == "" {
		u.User = url.User(config.User)
	}
	return l, u.String(), nil
}

// anyDoor dials the door of a replica that is there, in turn, as a load
// balancer without health checks does.
func (w *world) anyDoor(ctx context.Context) (net.Conn, error) {
	err := errors.New("no replica is there")
	for range w.replicas {
		r := w.replicas[w.turn.Add(1)%uint64(len(w.replicas))]
		r.mu.Lock()
		address := r.address
		r.mu.Unlock()
		if address == "" {
			continue
		}
		var conn net.Conn
		if conn, err = fault.To("tcp", address)(ctx); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// start starts the process and waits until it listens. One that cannot start
// because a road is out of order is started again, as an init system would.
func (r *replica) start(ctx context.Context) error {
	for ctx.Err() == nil {
		p, err := child.Serve(r.binary, r.config, r.log)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.process = p
		r.mu.Unlock()
		address, err := p.Address(ctx)
		if err == nil {
			r.mu.Lock()
			r.address = address
			r.mu.Unlock()
			return nil
		}
		if p.Ended() == nil {
			return errors.Join(err, p.Kill())
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return ctx.Err()
}

// end ends the process: at once if it is killed, else as an operator would.
func (r *replica) end(killed bool) error {
	r.mu.Lock()
	p := r.process
	r.process, r.address = nil, ""
	r.mu.Unlock()
	if p == nil {
		return nil
	}
	if err := r.wake(p); err != nil {
		return err
	}
	if killed || p.Ended() != nil {
		return p.Kill()
	}
	return p.Stop()
}

// stop holds the process where it is.
func (r *replica) stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return nil
	}
	r.stopped = true
	return r.process.Signal(syscall.SIGSTOP)
}

// wake lets a stopped process go on.
func (r *replica) wake(p *child.Process) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped || p == nil {
		return nil
	}
	r.stopped = false
	return p.Signal(syscall.SIGCONT)
}

func (r *replica) links() map[string]*fault.Link {
	all := map[string]*fault.Link{"forge": r.forge, "cluster": r.cluster}
	if r.store != nil {
		all["database"] = r.store
	}
	return all
}

// mend puts everything in order: roads, processes, the forge, webhooks.
func (w *world) mend(ctx context.Context) error {
	w.house.Forge.Fail(nil)
	w.house.Forge.SetDelivery(forgetest.DeliveryMode{})
	w.door.Set(fault.State{})
	for _, r := range w.replicas {
		for _, l := range r.links() {
			l.Set(fault.State{})
		}
		r.mu.Lock()
		p := r.process
		r.mu.Unlock()
		if err := r.wake(p); err != nil {
			return err
		}
		if p == nil || p.Ended() != nil {
			if err := r.start(ctx); err != nil {
				return fmt.Errorf("start replica %s again: %w", r.name, err)
			}
		}
	}
	return nil
}

// close ends everything in order. What the replicas said is kept if something
// went wrong.
func (w *world) close(well bool) error {
	var errs []error
	for _, r := range w.replicas {
		if err := r.end(!well); err != nil {
			errs = append(errs, fmt.Errorf("replica %s: %w", r.name, err))
		}
		for _, l := range r.links() {
			l.Close()
		}
	}
	if w.door != nil {
		w.door.Close()
	}
	for _, c := range []io.Closer{closer(w.store != nil, func() error { return w.store.Close() }),
		closer(w.house != nil, func() error { return w.house.Close() }),
		closer(w.postgres != nil, func() error { return w.postgres.Stop() }),
		closer(w.plane != nil, func() error { return w.plane.Stop() })} {
		errs = append(errs, c.Close())
	}
	if err := errors.Join(errs...); err != nil || !well || w.dir == "" {
		return err
	}
	return os.RemoveAll(w.dir)
}

type closing func() error

func (c closing) Close() error { return c() }

func closer(there bool, f func() error) io.Closer {
	if !there {
		f = func() error { return nil }
	}
	return closing(f)
}

// advice is how to look closer at what broke.
func (w *world) advice(o options) string {
	var again strings.Builder
	fmt.Fprintf(&again, "the logs are in %s; try again with: make soak MINUTES=%g SEED=%d", w.dir, o.minutes, o.seed)
	if o.sqlite {
		again.WriteString(" ARGS=-sqlite")
	}
	return again.String()
}
