"""Two sources as one."""

import jax
import numpy as np
import pytest

from gen_jax.data import synthetic
from gen_jax.data.pairs import KnownPair, Pair
from gen_jax.errors import InputError


@pytest.fixture(scope="module")
def pair():
  data = synthetic.EightGaussians(num_train=600, num_test=100)
  return KnownPair(data=data, start=synthetic.TwoMoons(num_train=250, num_test=100))


def rows(pair, key, training):
  raw = pair.split("train")[np.arange(200)]
  return raw, jax.jit(pair.prepare, static_argnums=2)(jax.random.key(key), raw, training)


def test_rows_are_those_of_both(pair):
  raw, batch = rows(pair, 0, training=False)
  assert len(pair.split("train")) == 600 and set(batch) == {"x", *pair.spec.entries} == {"x", "label", "start"}
  for name, source in (("x", pair.data), ("start", pair.start)):
    np.testing.assert_array_equal(batch[name], source.split("train")[np.arange(200)]["x"])
  again = pair.split("train")[np.arange(250, 450)]["start"]
  np.testing.assert_array_equal(again, raw["start"])


def test_no_row_of_a_larger_start_is_left_out(pair):
  """Of the training split; the rows that score the data are the data's, and starts are of all of their split."""
  few = Pair(data=synthetic.EightGaussians(num_train=100, num_test=20), start=pair.data)
  train, test = few.split("train"), few.split("test")
  assert (len(train), len(test)) == (600, 20)
  own, other = few.data.split("train"), few.start.split("train")
  seen = train[np.arange(600)]
  np.testing.assert_array_equal(seen["start"], other[np.arange(600)]["x"])
  np.testing.assert_array_equal(seen["x"], own[np.arange(600) % 100]["x"])
  np.testing.assert_array_equal(test[np.arange(20)]["start"], few.start.split("test")[np.arange(0, 100, 5)]["x"])


def test_training_joins_them_anew(pair):
  """The same rows, in an order that the key alone decides; the data stay as they are."""
  raw, one = rows(pair, 0, training=True)
  _, two = rows(pair, 1, training=True)
  ordered = lambda a: np.sort(np.asarray(a), axis=0)
  np.testing.assert_array_equal(one["x"], raw["x"])
  assert (one["start"] != raw["start"]).any() and (one["start"] != two["start"]).any()
  np.testing.assert_array_equal(ordered(one["start"]), ordered(raw["start"]))


def test_the_density_is_that_of_the_data(pair):
  x = pair.split("test")[np.arange(50)]["x"]
  np.testing.assert_array_equal(pair.log_prob(x), pair.data.log_prob(x))
  assert pair.entropy() == pair.data.entropy()


def test_shapes_must_agree():
  from gen_jax.data.digits import Digits

  with pytest.raises(InputError, match=r"shape \(8, 8, 1\), those of the data \(2,\)"):
    Pair(data=synthetic.Ring(), start=Digits())
