from unlocked.tasks import load


def test_digits_are_images_in_the_unit_interval_with_a_fifth_for_the_test():
    data = load("digits", validation=0.1, seed=0)
    assert data.in_shape == (1, 8, 8)
    assert data.n_outputs == 10
    assert (len(data.train), len(data.validation), len(data.test)) == (1293, 144, 360)
    assert (data.train.x.min(), data.train.x.max()) == (0, 1)
    assert data.class_names == list("0123456789")
