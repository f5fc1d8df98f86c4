package web

import (
	"net/http"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are lockkeeper's counters, on a registry of their own. No label
// names a repository, a pull or a person. A nil *Metrics counts nothing.
type Metrics struct {
	registry   *prometheus.Registry
	deliveries *prometheus.CounterVec
	jobs       *prometheus.HistogramVec
	forge      *prometheus.CounterVec
	cluster    *prometheus.CounterVec
	steps      *prometheus.CounterVec

	mu     sync.Mutex
	events map[string]bool
}

// NewMetrics makes a registry with lockkeeper's and the process's metrics.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "lockkeeper", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry:   prometheus.NewRegistry(),
		deliveries: counter("deliveries_total", "Webhook deliveries by event and outcome.", "event", "outcome"),
		jobs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "lockkeeper", Name: "job_duration_seconds", Help: "How long jobs ran, by kind and outcome.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900},
		}, []string{"kind", "outcome"}),
		forge:   counter("forge_requests_total", "Requests to the forge by method and HTTP status (0: no answer).", "method", "status"),
		cluster: counter("cluster_requests_total", "Requests to clusters by method and HTTP status (0: no answer).", "method", "status"),
		steps:   counter("steps_total", "Steps that were carried out, by name.", "step"),
		events:  map[string]bool{},
	}
	m.registry.MustRegister(m.deliveries, m.jobs, m.forge, m.cluster, m.steps,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Registry is where other packages register metrics of their own.
func (m *Metrics) Registry() prometheus.Registerer { return m.registry }

// Job counts a run of a job of a kind ("pull", "sweep", ...).
func (m *Metrics) Job(kind, outcome string, took time.Duration) {
	if m != nil {
		m.jobs.WithLabelValues(kind, outcome).Observe(took.Seconds())
	}
}

// Step counts a step that was carried out, such as "publish".
func (m *Metrics) Step(name string) {
	if m != nil {
		m.steps.WithLabelValues(name).Inc()
	}
}

// ForgeRequest counts a request to the forge.
func (m *Metrics) ForgeRequest(method string, status int) {
	if m != nil {
		m.forge.WithLabelValues(method, strconv.Itoa(status)).Inc()
	}
}

// ClusterRequest counts a request to a cluster.
func (m *Metrics) ClusterRequest(method string, status int) {
	if m != nil {
		m.cluster.WithLabelValues(method, strconv.Itoa(status)).Inc()
	}
}

// Waiting shows what count returns as the number of keys with work to do.
func (m *Metrics) Waiting(count func() float64) {
	if m != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "lockkeeper", Name: "work_waiting", Help: "Keys with work queued, running or waiting for a retry."}, count))
	}
}

// ClusterState is what is known of a cluster's drift.
type ClusterState struct {
	Cluster  string
	Drifting int       // targets
	Looked   time.Time // when it was looked at last; zero for never
	Unknown  time.Time // since when something there cannot be looked at; zero if all can
}

// Clusters shows what read returns whenever somebody asks for the metrics.
func (m *Metrics) Clusters(read func() ([]ClusterState, error)) {
	if m != nil {
		m.registry.MustRegister(clusters{read})
	}
}

// clusters collects gauges about clusters.
type clusters struct {
	read func() ([]ClusterState, error)
}

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("lockkeeper_"+name, help, []string{"cluster"}, nil)
}

var (
	drifting = gauge("drifting_targets", "Targets whose live objects are not as they were applied.")
	looked   = gauge("drift_looked_timestamp_seconds", "When drift was looked for last; 0: never.")
	unknown  = gauge("drift_unknown_since_timestamp_seconds", "Since when something cannot be looked at; 0: all can.")
)

// Describe names the gauges.
func (c clusters) Describe(ch chan<- *prometheus.Desc) {
	ch <- drifting
	ch <- looked
	ch <- unknown
}

// Collect reads them.
func (c clusters) Collect(ch chan<- prometheus.Metric) {
	all, err := c.read()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(drifting, err)
		return
	}
	at := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.Unix())
	}
	for _, s := range all {
		for desc, v := range map[*prometheus.Desc]float64{drifting: float64(s.Drifting), looked: at(s.Looked), unknown: at(s.Unknown)} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, s.Cluster)
		}
	}
}

func (m *Metrics) delivery(event, outcome string) {
	if m != nil {
		m.deliveries.WithLabelValues(m.eventLabel(event), outcome).Inc()
	}
}

// maxEvents bounds the label: the event's name stands in a header, which no
// signature covers. GitHub has some 70 events, lockkeeper asks for 10.
const maxEvents = 32

func (m *Metrics) eventLabel(event string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case event == "":
		return "none"
	case m.events[event]:
		return event
	case !utf8.ValidString(event), len(event) > 64, len(m.events) >= maxEvents:
		return "other"
	}
	m.events[event] = true
	return event
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}
