package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// replication are the metrics of replicated entities.
type replication struct {
	confirmed *prometheus.HistogramVec
	published *prometheus.HistogramVec
	stored    *prometheus.HistogramVec
	dropped   *prometheus.CounterVec
	pulled    prometheus.Counter
	repaired  prometheus.Counter
	troubled  *prometheus.CounterVec
}

func newReplication(r *prometheus.Registry) replication {
	m := replication{
		confirmed: histograms("replication_confirm_seconds", "Time until a write to a replicated entity was as safe as was asked for, or was given up.", seconds, "level", "result"),
		published: histograms("replication_publish_seconds", "Time that publishing a batch of changes took.", seconds, "result"),
		stored:    histograms("replication_store_seconds", "Time that storing changes of replicated entities took.", seconds, "result"),
		dropped:   counters("replication_dropped_total", "Batches of other nodes that were not taken.", "reason"),
		pulled:    counter("replication_pulled_total", "Batches that were missing and asked for."),
		repaired:  counter("replication_repaired_total", "Replicated entities that differed between two nodes and were compared."),
		troubled:  counters("replication_troubles_total", "Replicated entities that could not be read, stored, or joined with what another node sent.", "service", "trouble"),
	}
	r.MustRegister(m.confirmed, m.published, m.stored, m.dropped, m.pulled, m.repaired, m.troubled)
	return m
}

func result(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

// ReplicaConfirmed counts a write that waited for more than this node.
func (m *Metrics) ReplicaConfirmed(level string, took time.Duration, err error) {
	m.replication.confirmed.WithLabelValues(level, result(err)).Observe(took.Seconds())
}

// ReplicaPublished counts a batch that was given to the other nodes, or was not.
func (m *Metrics) ReplicaPublished(took time.Duration, err error) {
	m.replication.published.WithLabelValues(result(err)).Observe(took.Seconds())
}

// ReplicaStored counts a commit of changes to the journal.
func (m *Metrics) ReplicaStored(took time.Duration, err error) {
	m.replication.stored.WithLabelValues(result(err)).Observe(took.Seconds())
}

// ReplicaDropped counts a batch that was not taken. why comes from a closed set.
func (m *Metrics) ReplicaDropped(why string) { m.replication.dropped.WithLabelValues(why).Inc() }

// ReplicaPulled counts batches that were asked for.
func (m *Metrics) ReplicaPulled(n int) { m.replication.pulled.Add(float64(n)) }

// ReplicaRepaired counts entities that were compared.
func (m *Metrics) ReplicaRepaired(n int) { m.replication.repaired.Add(float64(n)) }

// ReplicaTroubled counts an entity that is in trouble: unloadable, unstored or rejected.
func (m *Metrics) ReplicaTroubled(service, trouble string) {
	m.replication.troubled.WithLabelValues(service, trouble).Inc()
}
