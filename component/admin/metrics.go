package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the component's, in a registry of their own. Its methods are what the engine's observer and the edges
// call; they cost little and may be called from many goroutines at once. Labels come from closed sets and from the
// catalog, never from callers.
type Metrics struct {
	registry *prometheus.Registry

	turns        *prometheus.HistogramVec
	appends      *prometheus.CounterVec
	appendTime   prometheus.Histogram
	batchSize    prometheus.Histogram
	events       *prometheus.CounterVec
	conflicts    *prometheus.CounterVec
	activations  *prometheus.HistogramVec
	replayed     prometheus.Counter
	passivations *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	sessions     *prometheus.GaugeVec
	sessionEnds  *prometheus.CounterVec
	streamUp     prometheus.Gauge
	reconnects   prometheus.Counter
	discoveries  *prometheus.CounterVec
	requests     *prometheus.HistogramVec
}

// Durations from a turn in memory to a stalled database.
var seconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// NewMetrics makes metrics that are all zero.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		turns:        histogram("turn_seconds", "Time from a command's arrival in the queue to its outcome.", seconds, "service", "outcome"),
		appends:      counter("appends_total", "Appends to the journal.", "status"),
		appendTime:   prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "append_seconds", Help: "Time that a batch of appends took.", Buckets: seconds}),
		batchSize:    prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "append_batch_size", Help: "Appends in one batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
		events:       counter("events_total", "Events that became durable.", "service"),
		conflicts:    counter("conflicts_total", "Appends that found their entity elsewhere.", "service"),
		activations:  histogram("activation_seconds", "Time to bring an entity into memory.", seconds, "service"),
		replayed:     counter("replayed_events_total", "Events read for activations.").WithLabelValues(),
		passivations: counter("passivations_total", "Entities that left memory.", "reason"),
		rejected:     counter("rejected_total", "Commands refused because of a limit.", "limit"),
		sessions:     gauge("sessions", "Entities with a session in the user function.", "service"),
		sessionEnds:  counter("session_failures_total", "Sessions that ended with an error.", "service"),
		streamUp:     gauge("actor_stream_up", "1 while the sidecar's actor stream is registered.").WithLabelValues(),
		reconnects:   counter("actor_stream_reconnects_total", "Times that the actor stream was opened again.").WithLabelValues(),
		discoveries:  counter("discoveries_total", "Attempts to discover the user function.", "result"),
		requests:     histogram("component_request_seconds", "Requests of the sidecar to state store and binding.", seconds, "method", "code"),
	}
	m.registry.MustRegister(
		m.turns, m.appends, m.appendTime, m.batchSize, m.events, m.conflicts, m.activations, m.replayed, m.passivations,
		m.rejected, m.sessions, m.sessionEnds, m.streamUp, m.reconnects, m.discoveries, m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

const namespace = "entities"

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// Turn counts a command: its outcome is reply, failure, forward, or the code of an error.
func (m *Metrics) Turn(service, outcome string, took time.Duration) {
	m.turns.WithLabelValues(service, outcome).Observe(took.Seconds())
}

// Batch counts a batch of appends that went to the journal together.
func (m *Metrics) Batch(size int, took time.Duration) {
	m.batchSize.Observe(float64(size))
	m.appendTime.Observe(took.Seconds())
}

// Append counts what became of one append, by the journal's word for it, and its events if they became durable.
func (m *Metrics) Append(service, status string, events int) {
	m.appends.WithLabelValues(strings.ReplaceAll(status, " ", "_")).Inc()
	if events > 0 {
		m.events.WithLabelValues(service).Add(float64(events))
	}
}

// Conflict counts an append that found its entity elsewhere.
func (m *Metrics) Conflict(service string) { m.conflicts.WithLabelValues(service).Inc() }

// Activated counts an entity that came into memory, and the events read for it.
func (m *Metrics) Activated(service string, events int, took time.Duration) {
	m.activations.WithLabelValues(service).Observe(took.Seconds())
	m.replayed.Add(float64(events))
}

// Passivated counts an entity that left memory: idle, bound, disowned, conflict, drain.
func (m *Metrics) Passivated(reason string) { m.passivations.WithLabelValues(reason).Inc() }

// Rejected counts a command refused because of a limit: queue, in_flight, bytes.
func (m *Metrics) Rejected(limit string) { m.rejected.WithLabelValues(limit).Inc() }

// SessionOpened counts a session of a service.
func (m *Metrics) SessionOpened(service string) { m.sessions.WithLabelValues(service).Inc() }

// SessionClosed follows a SessionOpened; failed says that the session did not end as it should.
func (m *Metrics) SessionClosed(service string, failed bool) {
	m.sessions.WithLabelValues(service).Dec()
	if failed {
		m.sessionEnds.WithLabelValues(service).Inc()
	}
}

// ActorStream says whether the actor stream is registered; again, that it was before.
func (m *Metrics) ActorStream(up, again bool) {
	m.streamUp.Set(map[bool]float64{true: 1}[up])
	if up && again {
		m.reconnects.Inc()
	}
}

// Discovery counts an attempt: ok, unreachable, invalid.
func (m *Metrics) Discovery(result string) { m.discoveries.WithLabelValues(result).Inc() }

// Request counts a request of the sidecar, by its full gRPC method and code.
func (m *Metrics) Request(method, code string, took time.Duration) {
	if i := strings.LastIndex(method, ".v1."); i >= 0 {
		method = method[i+len(".v1."):]
	}
	m.requests.WithLabelValues(method, code).Observe(took.Seconds())
}

// Gauges shows numbers that somebody else keeps: entities in memory (resident), entities owned (owned), commands that
// wait (queued), commands in progress (in_flight), their bytes (bytes). Called at every scrape, they answer at once. It
// may be called once.
func (m *Metrics) Gauges(g Gauges) {
	for _, v := range []struct {
		name, help string
		read       func() float64
	}{
		{"resident", "Entities in memory.", g.Resident},
		{"owned", "Entities that the sidecar has placed here.", g.Owned},
		{"queued", "Commands that wait for their entity.", g.Queued},
		{"in_flight", "Commands in progress, waiting ones included.", g.InFlight},
		{"in_flight_bytes", "Size of the commands and answers in progress.", g.Bytes},
	} {
		if v.read != nil {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: v.name, Help: v.help}, v.read))
		}
	}
}

// Gauges are read at every scrape. Those that are nil are not shown.
type Gauges struct{ Resident, Owned, Queued, InFlight, Bytes func() float64 }

// Handler serves the metrics alone.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
