package store

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"lockkeeper/bot/store/pgtest"
	"lockkeeper/forge"
)

// BenchmarkAddDelivery is what the door can take: deliveries from many callers
// at once, of pulls that rest and of pulls that have work already. PostgreSQL
// waits for the disk here, as it does for operators.
func BenchmarkAddDelivery(b *testing.B) {
	server, err := pgtest.Start(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := server.Stop(); err != nil {
			b.Error(err)
		}
	})
	b.Run("SQLite", func(b *testing.B) { benchDeliveries(b, filepath.Join(b.TempDir(), "bench.db"), "") })
	url, err := server.Database(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("PostgreSQL", func(b *testing.B) { benchDeliveries(b, url, "ALTER SYSTEM SET fsync = on") })
}

func benchDeliveries(b *testing.B, url, prepare string) {
	s, err := Open(b.Context(), url, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if prepare != "" {
		for _, statement := range []string{prepare, "SELECT pg_reload_conf()"} {
			if _, err := s.db.ExecContext(b.Context(), statement); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name  string
		pulls int64
	}{{"resting", 1 << 40}, {"busy", 50}} {
		b.Run(c.name, func(b *testing.B) {
			var n atomic.Int64
			run := b.Name()
			b.SetParallelism(16 / runtime.GOMAXPROCS(0)) // 16 callers
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1)
					d := Delivery{ID: fmt.Sprint(run, b.N, "-", i), Forge: "github", Event: "push", Repo: forge.RepoRef{ID: 1}}
					if _, err := s.AddDelivery(b.Context(), d, []string{fmt.Sprint(run, i%c.pulls)}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}
